//! URLs of stores, which may contain a user and a password.

use mesh::endpoint::check_host;
use serde::{Deserialize, Deserializer};
use url::{Position, Url};

use mesh::bindings::refuse_redacted;

/// A URL that is shown without its user and password.
#[derive(Clone)]
pub(super) struct Address(Url);

impl<'de> Deserialize<'de> for Address {
    /// The error for an invalid URL does not contain the URL.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let problem = |error| serde::de::Error::custom(format!("url: {error}"));
        Url::parse(&text).map(Self).map_err(problem)
    }
}

impl Address {
    /// The URL, with user and password.
    pub(super) fn url(&self) -> &Url {
        &self.0
    }

    /// Scheme, host and port.
    pub(super) fn origin(&self) -> String {
        origin(&self.0)
    }

    /// Whether it contains a user or a password.
    pub(super) fn has_user(&self) -> bool {
        !self.0.username().is_empty() || self.0.password().is_some()
    }

    /// Refuses URLs that can never be connected to, and placeholders instead of secrets. The error says why,
    /// and that `form` is expected.
    pub(super) fn check(&self, schemes: &[&str], form: &str) -> Result<(), String> {
        self.problem(schemes).map_or(Ok(()), |problem| Err(format!("url: {problem}; expected {form}")))?;
        refuse_redacted([("url", Some(self.0.username())), ("url", self.0.password())])
    }

    fn problem(&self, schemes: &[&str]) -> Option<String> {
        if !schemes.contains(&self.0.scheme()) {
            // In `localhost:5984/db`, the host is parsed as a scheme.
            return Some(format!("unknown scheme {:?}", self.0.scheme()));
        }
        if self.0.port() == Some(0) {
            return Some("port 0 cannot be connected to".into());
        }
        match self.0.host_str().unwrap_or_default() {
            // An IPv6 address, which the parser has checked.
            host if host.starts_with('[') => None,
            host => check_host(host).err(),
        }
    }
}

/// Without user, password, query and fragment.
impl std::fmt::Display for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&without_secrets(&self.0))
    }
}

impl std::fmt::Debug for Address {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

fn origin(url: &Url) -> String {
    format!("{}://{}", url.scheme(), &url[Position::BeforeHost..Position::AfterPort])
}

/// A URL without user, password, query and fragment.
pub(super) fn without_secrets(url: &Url) -> String {
    format!("{}{}", origin(url), &url[Position::BeforePath..Position::AfterPath])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> Result<Address, String> {
        serde_json::from_value(text.into()).map_err(|error| error.to_string())
    }

    #[test]
    fn secrets_are_not_shown() {
        for text in ["http://u:hunter2@h:1/db?key=hunter2", "http://h/db#hunter2"] {
            let address = address(text).expect("a URL");
            let shown = format!("{address} {address:?} {}", address.origin());
            assert!(!shown.contains("hunter2"), "{shown}");
        }
        let error = address("http://u:hunter2@h:port/").expect_err("an invalid port");
        assert!(error.contains("url: ") && !error.contains("hunter2"), "{error}");
    }

    #[test]
    fn origins() {
        for (text, origin) in [
            ("http://u:p@host/db", "http://host"),
            ("https://host:8443/x", "https://host:8443"),
            ("nats://[::1]:4222", "nats://[::1]:4222"),
        ] {
            assert_eq!(address(text).expect("a URL").origin(), origin);
        }
    }

    #[test]
    fn errors_say_what_is_expected() {
        let check = |text| address(text).and_then(|address| address.check(&["http"], "http://host"));
        for valid in
            ["http://h/", "http://[::1]:5984/db", "http://127.0.0.1:80", "http://my_store.example:1/"]
        {
            assert_eq!(check(valid), Ok(()), "{valid}");
        }
        for (text, problem) in [
            ("ftp://h/", "unknown scheme \"ftp\"; expected http://host"),
            ("localhost:5984/db", "unknown scheme \"localhost\""),
            ("127.0.0.1:5984/db", "relative URL without a base"),
            ("http://h:0/", "port 0 cannot be connected to"),
            ("http://h:99999/", "invalid port number"),
            ("http://a..b/", "\"a..b\" is not a valid host name"),
            ("http://-a/", "\"-a\" is not a valid host name"),
            ("http://127.0.0.300/", "invalid IPv4 address"),
        ] {
            let error = check(text).expect_err(text);
            assert!(error.starts_with("url: ") && error.contains(problem), "{text}: {error}");
        }
        for redacted in ["http://***@h/", "http://u:***@h/"] {
            assert!(check(redacted).expect_err(redacted).contains("write the secret itself"));
        }
    }
}
