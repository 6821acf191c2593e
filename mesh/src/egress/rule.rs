//! Rules that say which hosts, addresses and ports they are about.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

use crate::endpoint::check_host;

/// The prefix of IPv4 addresses that are written as IPv6 addresses, `::ffff:0:0/96`, in bits.
const MAPPED_PREFIX: u8 = 96;

/// Hosts and ports: `HOST` or `HOST:PORTS`. `HOST` is a name, `*.` and a domain for all names in it, an address, a
/// CIDR block, or `*`. `PORTS` is a port, or `FIRST-LAST`. IPv6 addresses that precede ports are in brackets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rule {
    text: String,
    hosts: Hosts,
    /// Absent: all ports.
    ports: Option<Ports>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Hosts {
    All,
    Name(String),
    /// The names that end with this, which begins with a dot.
    Domain(String),
    Block(Block),
}

/// A CIDR block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Block {
    base: IpAddr,
    prefix: u8,
}

/// Ports from one to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    first: u16,
    last: u16,
}

impl Rule {
    /// Whether it is about this destination. `host` is normalized; `address` is absent if it is not known.
    pub(super) fn matches(&self, host: &str, port: u16, address: Option<IpAddr>) -> bool {
        if self.ports.is_some_and(|ports| !ports.contains(port)) {
            return false;
        }
        match &self.hosts {
            Hosts::All => true,
            Hosts::Name(name) => name == host,
            Hosts::Domain(domain) => host.ends_with(domain.as_str()),
            Hosts::Block(block) => address.is_some_and(|address| block.contains(address)),
        }
    }

    /// Whether it names addresses, not names.
    pub(super) fn is_of_addresses(&self) -> bool {
        matches!(self.hosts, Hosts::Block(_))
    }

    /// Whether it names exactly this port.
    pub(super) fn names_port(&self, port: u16) -> bool {
        self.ports == Some(Ports::one(port))
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |problem: &str| {
            format!(
                "{text:?} is not a rule: {problem}; expected HOST or HOST:PORTS, such as couchdb.example.org:5984, \
                 *.example.org, 10.0.0.0/8 or [fd00::/8]:443-444"
            )
        };
        let (host, ports) = split(text).map_err(wrong)?;
        let hosts = host.parse::<Hosts>().map_err(|problem| wrong(&problem))?;
        let ports = ports.map(str::parse).transpose().map_err(|problem: String| wrong(&problem))?;
        Ok(Self { text: text.to_owned(), hosts, ports })
    }
}

/// The host, without brackets, and the ports.
fn split(text: &str) -> Result<(&str, Option<&str>), &'static str> {
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']').ok_or("a bracket is not closed")?;
        return match rest.strip_prefix(':') {
            Some(ports) => Ok((host, Some(ports))),
            None if rest.is_empty() => Ok((host, None)),
            None => Err("a port follows a colon"),
        };
    }
    match text.split_once(':') {
        // An IPv6 address.
        Some((_, rest)) if rest.contains(':') => Ok((text, None)),
        Some((host, ports)) => Ok((host, Some(ports))),
        None => Ok((text, None)),
    }
}

impl FromStr for Hosts {
    type Err = String;

    fn from_str(host: &str) -> Result<Self, String> {
        if host == "*" {
            return Ok(Self::All);
        }
        if let Ok(address) = host.parse::<IpAddr>() {
            return Ok(Self::Block(Block::new(address, if address.is_ipv4() { 32 } else { 128 })));
        }
        if let Some((base, prefix)) = host.split_once('/') {
            let base = base.parse::<IpAddr>().map_err(|_| format!("{base:?} is not an address"))?;
            let longest = if base.is_ipv4() { 32 } else { 128 };
            let prefix = prefix.parse().ok().filter(|prefix| *prefix <= longest);
            let prefix = prefix.ok_or_else(|| format!("the prefix is not a number from 0 to {longest}"))?;
            return Ok(Self::Block(Block::new(base, prefix)));
        }
        match host.strip_prefix("*.") {
            Some(domain) => check_host(domain).map(|()| Self::Domain(format!(".{}", normalized(domain)))),
            None => check_host(host).map(|()| Self::Name(normalized(host))),
        }
    }
}

/// A host as it is compared: in lower case, without a final dot and brackets.
pub(super) fn normalized(host: &str) -> String {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

impl Block {
    fn new(base: IpAddr, prefix: u8) -> Self {
        match base.to_canonical() {
            // A block of IPv4 addresses that is written as IPv6.
            IpAddr::V4(v4) if base.is_ipv6() && prefix >= MAPPED_PREFIX => {
                Self { base: v4.into(), prefix: prefix - MAPPED_PREFIX }
            }
            _ => Self { base, prefix },
        }
    }

    fn contains(self, address: IpAddr) -> bool {
        let prefix = u32::from(self.prefix);
        match (self.base, address.to_canonical()) {
            (IpAddr::V4(base), IpAddr::V4(address)) => {
                let mask = u32::MAX.checked_shl(Ipv4Addr::BITS - prefix).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            (IpAddr::V6(base), IpAddr::V6(address)) => {
                let mask = u128::MAX.checked_shl(Ipv6Addr::BITS - prefix).unwrap_or(0);
                base.to_bits() & mask == address.to_bits() & mask
            }
            _ => false,
        }
    }
}

impl Ports {
    /// One port.
    pub const fn one(port: u16) -> Self {
        Self { first: port, last: port }
    }

    /// From `first` to `last`, both included.
    pub const fn range(first: u16, last: u16) -> Self {
        Self { first, last }
    }

    /// Whether `port` is among them.
    pub fn contains(self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let port = |text: &str| text.parse::<u16>().ok().filter(|port| *port != 0);
        let (first, last) = text.split_once('-').unwrap_or((text, text));
        match (port(first), port(last)) {
            (Some(first), Some(last)) if first <= last => Ok(Self { first, last }),
            _ => Err(format!("{text:?}: expected a port from 1 to 65535, or FIRST-LAST")),
        }
    }
}

impl<'de> Deserialize<'de> for Rule {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl<'de> Deserialize<'de> for Ports {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Given {
            Number(u64),
            Text(String),
        }
        let text = match Given::deserialize(deserializer)? {
            Given::Number(number) => number.to_string(),
            Given::Text(text) => text,
        };
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rules() {
        for (rule, host, port, address, expected) in [
            ("*", "h", 1, None, true),
            ("*:4001", "h", 4001, None, true),
            ("*:4001", "h", 4002, None, false),
            ("Store.example.org.", "store.example.org", 1, None, true),
            ("store.example.org", "a.store.example.org", 1, None, false),
            ("*.example.org", "a.b.example.org", 1, None, true),
            ("*.example.org", "example.org", 1, None, false),
            ("*.example.org", "badexample.org", 1, None, false),
            ("h:1-3", "h", 3, None, true),
            ("h:1-3", "h", 4, None, false),
            ("10.0.0.0/8", "h", 1, Some("10.255.0.1"), true),
            ("10.0.0.0/8", "h", 1, Some("::ffff:10.255.0.1"), true),
            ("10.0.0.0/8", "h", 1, Some("11.0.0.1"), false),
            ("10.0.0.0/8", "h", 1, None, false),
            ("0.0.0.0/0", "h", 1, Some("8.8.8.8"), true),
            ("0.0.0.0/0", "h", 1, Some("2600::1"), false),
            ("::/0", "h", 1, Some("2600::1"), true),
            ("10.1.2.3:80", "10.1.2.3", 80, Some("10.1.2.3"), true),
            ("10.1.2.3", "h", 80, Some("10.1.2.4"), false),
            ("::ffff:10.0.0.0/104", "h", 1, Some("10.1.1.1"), true),
            ("::1", "h", 1, Some("::1"), true),
            ("[::1]", "h", 1, Some("::1"), true),
            ("[fd00::/8]:443-444", "h", 444, Some("fd12::1"), true),
            ("[fd00::/8]:443-444", "h", 445, Some("fd12::1"), false),
            ("fd00::/8", "h", 1, Some("fe80::1"), false),
        ] {
            let parsed: Rule = rule.parse().expect(rule);
            let address = address.map(|address: &str| address.parse().expect("an address"));
            assert_eq!(parsed.matches(host, port, address), expected, "{rule} {host}:{port} {address:?}");
            assert_eq!(parsed.to_string(), rule);
        }
    }

    #[test]
    fn errors_say_what_is_expected() {
        for (rule, problem) in [
            ("", "expected a host"),
            ("*.", "expected a host"),
            ("a b", "is not a valid host name"),
            ("http://h", "expected a port from 1 to 65535"),
            ("h:0", "expected a port from 1 to 65535"),
            ("h:5-4", "expected a port from 1 to 65535, or FIRST-LAST"),
            ("h:", "expected a port"),
            ("10.0.0.0/33", "the prefix is not a number from 0 to 32"),
            ("fd00::/129", "the prefix is not a number from 0 to 128"),
            ("h/8", "\"h\" is not an address"),
            ("2130706433", "is not a valid IPv4 address"),
            ("[::1", "a bracket is not closed"),
            ("[::1]80", "a port follows a colon"),
        ] {
            let error = rule.parse::<Rule>().expect_err(rule);
            assert!(error.contains(problem) && error.contains("expected HOST or HOST:PORTS"), "{error}");
        }
    }

    #[test]
    fn ports_are_numbers_or_text() {
        let read = |json: &str| serde_json::from_str::<Ports>(json).map_err(|error| error.to_string());
        assert_eq!(read("4001"), Ok(Ports::one(4001)));
        assert_eq!(read("\"4001-4003\""), Ok(Ports::range(4001, 4003)));
        assert!(read("70000").is_err_and(|error| error.contains("expected a port from 1 to 65535")));
    }
}
