//! Endpoints: the addresses of services.

use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// The address of a service: `http://host:port`, `https://host:port`, `unix:/path`, or `local:name` for a
/// service in this process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP, with TLS for `https`.
    Tcp(http::Uri),
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// The service of this name in this process.
    Local(String),
    /// The end of a tunnel that the other side has opened. It cannot be dialed or configured.
    Tunnel(String),
}

impl Endpoint {
    /// Plain TCP on loopback at `port`.
    pub fn loopback(port: u16) -> Self {
        format!("http://127.0.0.1:{port}").parse().expect("a valid endpoint")
    }

    /// The port, for TCP.
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Tcp(uri) => {
                uri.port_u16().or(Some(if uri.scheme_str() == Some("https") { 443 } else { 80 }))
            }
            Self::Unix(_) | Self::Local(_) | Self::Tunnel(_) => None,
        }
    }
}

impl FromStr for Endpoint {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || {
            format!(
                "{text:?} is not an endpoint; expected http://host:port, https://host:port, unix:/path or local:name"
            )
        };
        if let Some(path) = text.strip_prefix("unix:") {
            let path = PathBuf::from(path);
            return if path.is_absolute() { Ok(Self::Unix(path)) } else { Err(wrong()) };
        }
        if let Some(name) = text.strip_prefix("local:") {
            return if name.is_empty() { Err(wrong()) } else { Ok(Self::Local(name.to_owned())) };
        }
        let uri: http::Uri = text.parse().map_err(|_| wrong())?;
        match (uri.scheme_str(), uri.authority()) {
            (Some("http" | "https"), Some(_)) => Ok(Self::Tcp(uri)),
            _ => Err(wrong()),
        }
    }
}

impl std::fmt::Display for Endpoint {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Tcp(uri) => write!(f, "{}", uri.to_string().trim_end_matches('/')),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
            Self::Local(name) => write!(f, "local:{name}"),
            Self::Tunnel(name) => write!(f, "tunnel:{name}"),
        }
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// Checks that `host` can be an IPv4 address or a name in DNS or in a hosts file. An error states the
/// problem.
pub fn check_host(host: &str) -> Result<(), String> {
    if host.is_empty() {
        return Err("expected a host".into());
    }
    let name = host.strip_suffix('.').unwrap_or(host);
    let labels: Vec<_> = name.split('.').collect();
    let is_label = |label: &&str| {
        (1..=63).contains(&label.len())
            && label.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if name.len() > 253 || !labels.iter().all(is_label) {
        return Err(format!("{host:?} is not a valid host name"));
    }
    // No top-level domain is a number.
    let is_number = labels.last().is_some_and(|last| last.chars().all(|c| c.is_ascii_digit()));
    if is_number && host.parse::<Ipv4Addr>().is_err() {
        return Err(format!("{host:?} is not a valid IPv4 address"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts() {
        for host in ["h", "127.0.0.1", "my_broker", "broker.example.org.", "xn--bcher-kva.example"] {
            assert_eq!(check_host(host), Ok(()), "{host}");
        }
        for (host, problem) in [
            ("", "expected a host"),
            ("a..b", "is not a valid host name"),
            ("-a", "is not a valid host name"),
            ("a b", "is not a valid host name"),
            ("127.0.0.300", "is not a valid IPv4 address"),
        ] {
            assert!(check_host(host).is_err_and(|error| error.contains(problem)), "{host}");
        }
    }
}
