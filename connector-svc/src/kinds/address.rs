//! Addresses of brokers, as bindings give them.

use std::net::Ipv6Addr;

use mesh::endpoint::check_host;

/// What a parameter accepts as an address.
pub(super) struct AddressParam {
    /// Its name.
    pub(super) name: &'static str,
    /// The schemes that may come before the host.
    pub(super) schemes: &'static [&'static str],
    /// The parameters that take credentials.
    pub(super) credentials: &'static str,
}

/// An address: `[SCHEME://]HOST[:PORT]`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Address {
    pub(super) scheme: Option<&'static str>,
    /// A name or an IP address, without brackets.
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

impl AddressParam {
    /// Reads an address. What could never be connected to is an error, which says why and shows no credentials.
    pub(super) fn parse(&self, text: &str) -> Result<Address, String> {
        if text.trim().is_empty() {
            return Err(format!("{} can't be blank", self.name));
        }
        if text.contains('@') {
            return Err(format!("{}: credentials go into {}", self.name, self.credentials));
        }
        self.read(text).map_err(|problem| format!("{} {text:?}: {problem}", self.name))
    }

    fn read(&self, text: &str) -> Result<Address, String> {
        if text.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err("must not contain spaces".into());
        }
        let (scheme, rest) = match text.split_once("://") {
            None => (None, text),
            Some((given, rest)) => {
                let known = self.schemes.iter().find(|scheme| scheme.eq_ignore_ascii_case(given));
                let expected = || format!("expected {}, or no scheme", self.schemes_in_words());
                (Some(*known.ok_or_else(|| format!("unknown scheme {given:?}; {}", expected()))?), rest)
            }
        };
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        if rest.contains(['/', '?', '#']) {
            return Err("expected only a host and a port, without a path".into());
        }
        let (host, port) = host_and_port(rest, scheme.is_some())?;
        Ok(Address { scheme, host, port })
    }

    fn schemes_in_words(&self) -> String {
        let schemes: Vec<_> = self.schemes.iter().map(|scheme| format!("{scheme}://")).collect();
        schemes.join(" or ")
    }
}

/// Splits `HOST[:PORT]`. Only an IPv6 address that stands alone needs no brackets.
fn host_and_port(text: &str, has_scheme: bool) -> Result<(String, Option<u16>), String> {
    if let Some(rest) = text.strip_prefix('[') {
        let (address, rest) = rest.split_once(']').ok_or("expected a closing bracket")?;
        if !is_ipv6(address) {
            return Err(format!("{address:?} is not an IPv6 address"));
        }
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(port(digits)?),
            None if rest.is_empty() => None,
            None => return Err("expected a port after the closing bracket".into()),
        };
        return Ok((address.to_owned(), port));
    }
    if text.matches(':').count() > 1 {
        return match !has_scheme && is_ipv6(text) {
            true => Ok((text.to_owned(), None)),
            false => Err("expected an IPv6 address in brackets, or HOST:PORT".into()),
        };
    }
    let (host, port) = match text.split_once(':') {
        Some((host, digits)) => (host, Some(port(digits)?)),
        None => (text, None),
    };
    check_host(host)?;
    Ok((host.to_owned(), port))
}

fn port(digits: &str) -> Result<u16, String> {
    let port = digits.parse().ok().filter(|port| *port != 0 && !digits.starts_with('+'));
    port.ok_or_else(|| format!("port {digits:?}: expected a number from 1 to 65535"))
}

/// An IPv6 address, perhaps with the zone of a link-local one.
fn is_ipv6(text: &str) -> bool {
    let (address, zone) = text.split_once('%').unwrap_or((text, "0"));
    let is_zone = !zone.is_empty() && zone.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    address.parse::<Ipv6Addr>().is_ok() && is_zone
}

#[cfg(test)]
mod tests {
    use super::*;

    const PARAM: AddressParam =
        AddressParam { name: "host", schemes: &["mqtt", "mqtts"], credentials: "username and password" };

    #[test]
    fn addresses() {
        let long = "a".repeat(63);
        let cases = [
            ("h", None, "h", None),
            ("h/", None, "h", None),
            ("127.0.0.1", None, "127.0.0.1", None),
            ("127.0.0.1:5883", None, "127.0.0.1", Some(5883)),
            ("my_broker:1", None, "my_broker", Some(1)),
            ("broker.example.org.", None, "broker.example.org.", None),
            (&long, None, &long, None),
            ("::1", None, "::1", None),
            ("fe80::1%eth0", None, "fe80::1%eth0", None),
            ("[::1]", None, "::1", None),
            ("[::1]:65535", None, "::1", Some(65535)),
            ("mqtt://127.0.0.1", Some("mqtt"), "127.0.0.1", None),
            ("MQTT://h:1883/", Some("mqtt"), "h", Some(1883)),
            ("mqtts://h:8883", Some("mqtts"), "h", Some(8883)),
            ("mqtts://[2001:db8::7]:8884", Some("mqtts"), "2001:db8::7", Some(8884)),
        ];
        for (text, scheme, host, port) in cases {
            let expected = Address { scheme, host: host.to_owned(), port };
            assert_eq!(PARAM.parse(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn what_can_never_be_connected_to_is_refused_with_a_reason() {
        let (label, name) = ("a".repeat(64), "ab.".repeat(85));
        let cases = [
            ("", "host can't be blank"),
            (" ", "host can't be blank"),
            ("h ", "must not contain spaces"),
            ("h\0", "must not contain spaces"),
            ("a b", "must not contain spaces"),
            ("http://h", "unknown scheme \"http\"; expected mqtt:// or mqtts://, or no scheme"),
            ("://h", "unknown scheme \"\""),
            ("mqtt://", "expected a host"),
            (":1883", "expected a host"),
            ("mqtt://mqtt://h", "without a path"),
            ("mqtt://h/topic", "without a path"),
            ("h?x=1", "without a path"),
            ("h:", "port \"\": expected a number from 1 to 65535"),
            ("h:0", "port \"0\": expected a number from 1 to 65535"),
            ("h:65536", "port \"65536\": expected a number from 1 to 65535"),
            ("h:+1", "expected a number from 1 to 65535"),
            ("h:many", "expected a number from 1 to 65535"),
            ("h:1:2", "expected an IPv6 address in brackets, or HOST:PORT"),
            ("mqtt://::1", "expected an IPv6 address in brackets, or HOST:PORT"),
            ("[::1", "expected a closing bracket"),
            ("[h]:1", "\"h\" is not an IPv6 address"),
            ("[::1%]:1", "is not an IPv6 address"),
            ("[::1]1", "expected a port after the closing bracket"),
            ("a..b", "\"a..b\" is not a valid host name"),
            ("-a", "is not a valid host name"),
            ("a-.b", "is not a valid host name"),
            ("a,b", "is not a valid host name"),
            ("bröker", "is not a valid host name"),
            (&label, "is not a valid host name"),
            (&name, "is not a valid host name"),
            ("256.0.0.1", "\"256.0.0.1\" is not a valid IPv4 address"),
            ("1883", "\"1883\" is not a valid IPv4 address"),
        ];
        for (text, expected) in cases {
            let problem = PARAM.parse(text).expect_err(text);
            assert!(
                problem.starts_with("host") && problem.contains(expected),
                "{problem:?} says {expected:?}"
            );
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        for text in ["mqtt://u:hunter2@h", "u:hunter2@h:1", "x y://u:hunter2@h/z"] {
            let problem = PARAM.parse(text).expect_err("refused");
            assert_eq!(problem, "host: credentials go into username and password");
        }
    }
}
