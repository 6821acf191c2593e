//! The parameters of a NATS event source.

use mesh::auth::Secret;
use mesh::bindings::refuse_redacted;
use mesh::egress::{NATS_PORT, NatsUser};
use serde::Deserialize;

use crate::handling::{self, Handling};
use crate::kinds::address::{Address, AddressParam};
use crate::trace::Origin;

const URL: AddressParam = AddressParam {
    name: "url",
    schemes: &["nats", "tls"],
    credentials: "username and password, or into token",
};

/// Which messages of which JetStream stream a binding consumes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The server, `nats://host:port`, or `tls://host:port` for an encrypted connection. The port may be left
    /// out, and so may `nats://`.
    pub(super) url: String,
    /// The stream's name.
    pub(super) stream: String,
    /// A filter of subjects: `*` matches one token, a final `>` all below.
    #[serde(default)]
    pub(super) subject: String,
    /// The name of a durable consumer, which outlives the binding. Absent: a consumer of the binding's own.
    pub(super) durable: Option<String>,
    /// Where a new consumer starts.
    #[serde(default)]
    pub(super) deliver: Deliver,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    pub(super) token: Option<Secret>,
}

/// Where a new consumer starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Deliver {
    /// At the first message of the stream.
    #[default]
    All,
    /// At the next message.
    New,
}

impl Params {
    /// Reads the parameters' JSON text.
    pub(crate) fn parse(params: &str) -> Result<(Self, Handling), String> {
        let (mut params, handling): (Self, _) = handling::read("nats", params, handling::PAYLOAD_PARAMS)?;
        params.resolve_url().and_then(|()| params.check()).map_err(|problem| format!("nats: {problem}"))?;
        Ok((params, handling))
    }

    /// How traces describe it.
    pub(crate) fn origin(&self) -> Origin {
        let subscription = if self.subject.is_empty() { &self.stream } else { &self.subject };
        Origin::Broker { system: "nats", subscription: subscription.clone() }
    }

    /// Who connects to the server.
    pub(super) fn user(&self) -> NatsUser {
        match (&self.token, &self.username, &self.password) {
            (Some(token), ..) => NatsUser::Token(token.clone()),
            (None, Some(username), Some(password)) => {
                NatsUser::Named { username: username.clone(), password: password.clone() }
            }
            _ => NatsUser::Anonymous,
        }
    }

    /// Writes the URL out, with scheme and port.
    fn resolve_url(&mut self) -> Result<(), String> {
        let Address { scheme, host, port } = URL.parse(&self.url)?;
        let host = if host.contains(':') { format!("[{host}]") } else { host };
        let url = format!("{}://{host}:{}", scheme.unwrap_or("nats"), port.unwrap_or(NATS_PORT));
        url.parse::<url::Url>().map_err(|error| format!("url {:?}: {error}", self.url))?;
        self.url = url;
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        check_name("stream", &self.stream)?;
        if let Some(durable) = &self.durable {
            check_name("durable", durable)?;
        }
        if self.subject.contains(char::is_whitespace) || self.subject.split('.').any(str::is_empty) {
            let is_given = !self.subject.is_empty();
            if is_given {
                return Err(format!("subject {:?}: expected tokens separated by dots", self.subject));
            }
        }
        if self.password.is_some() != self.username.is_some() {
            return Err("username and password: expected both or none".into());
        }
        if self.token.is_some() && self.username.is_some() {
            return Err("token: expected no username with it".into());
        }
        refuse_redacted([
            ("password", self.password.as_ref().map(Secret::expose)),
            ("token", self.token.as_ref().map(Secret::expose)),
        ])
    }
}

/// Names of streams and consumers become parts of subjects and of file names.
fn check_name(field: &str, name: &str) -> Result<(), String> {
    if name.is_empty() || name.contains(|c: char| c.is_whitespace() || ".*>/\\".contains(c)) {
        return Err(format!("{field} {name:?}: expected a name without spaces and . * > / \\"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_servers() {
        for (url, expected) in [
            ("nats://h:4223", "nats://h:4223"),
            ("nats://h", "nats://h:4222"),
            ("h", "nats://h:4222"),
            ("127.0.0.1:4223", "nats://127.0.0.1:4223"),
            ("tls://h/", "tls://h:4222"),
            ("[::1]:4223", "nats://[::1]:4223"),
        ] {
            let params = format!(r#"{{"url":"{url}","stream":"S"}}"#);
            assert_eq!(Params::parse(&params).expect(url).0.url, expected, "{url}");
        }
    }

    #[test]
    fn errors_say_what_was_expected() {
        let good = r#"{"url":"nats://h:4222","stream":"S","subject":"a.*.>","username":"u","password":"p"}"#;
        assert!(Params::parse(good).is_ok());
        for (params, expected) in [
            (r#"{"stream":"S"}"#, "missing field `url`"),
            (r#"{"url":"","stream":"S"}"#, "url can't be blank"),
            (
                r#"{"url":"ws://h","stream":"S"}"#,
                "unknown scheme \"ws\"; expected nats:// or tls://, or no scheme",
            ),
            (r#"{"url":"nats://h,nats://i","stream":"S"}"#, "without a path"),
            (r#"{"url":"h,i","stream":"S"}"#, "\"h,i\" is not a valid host name"),
            (r#"{"url":"nats://h:0","stream":"S"}"#, "port \"0\": expected a number from 1 to 65535"),
            (r#"{"url":"nats://a b","stream":"S"}"#, "must not contain spaces"),
            (r#"{"url":"nats://u:p@h","stream":"S"}"#, "credentials go into username and password"),
            (r#"{"url":"nats://h","stream":"a.b"}"#, "stream \"a.b\": expected a name"),
            (r#"{"url":"nats://h","stream":"S","durable":"a b"}"#, "durable \"a b\": expected a name"),
            (r#"{"url":"nats://h","stream":"S","subject":"a..b"}"#, "expected tokens separated by dots"),
            (r#"{"url":"nats://h","stream":"S","username":"u"}"#, "expected both or none"),
            (r#"{"url":"nats://h","stream":"S","token":"***"}"#, "token: *** stands for a secret"),
            (r#"{"url":"nats://h","stream":"S","deliver":"last"}"#, "expected `all` or `new`"),
        ] {
            let error = Params::parse(params).expect_err(params);
            assert!(error.starts_with("nats: ") && error.contains(expected), "{error:?} says {expected:?}");
        }
    }
}
