//! Where services are reached.

use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer};

/// Where a service is reached: `http://host:port`, `https://host:port`, `unix:/path`, or
/// `local:name` for a service in this process.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP, with TLS for `https`.
    Tcp(http::Uri),
    /// A Unix socket at this path.
    Unix(PathBuf),
    /// The service of this name in this process.
    Local(String),
    /// The end of a tunnel that was opened from there. Nobody can dial it, or write it into a
    /// configuration.
    Tunnel(String),
}

impl Endpoint {
    /// Plain TCP on loopback at `port`.
    pub fn loopback(port: u16) -> Self {
        format!("http://127.0.0.1:{port}").parse().expect("this is an endpoint")
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
