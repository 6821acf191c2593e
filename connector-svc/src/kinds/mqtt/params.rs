//! The parameters of an MQTT event source.

use std::sync::Arc;

use mesh::auth::Secret;
use mesh::bindings::refuse_redacted;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use serde::{Deserialize, Deserializer, de};

use crate::handling::{self, Handling};
use crate::kinds::address::AddressParam;
use crate::trace::Origin;

/// Which messages of which broker a binding subscribes to.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Params {
    /// The broker's name or IP address. A binding may write the port and TLS here as well, such as
    /// `mqtts://broker:8883`.
    pub(super) host: String,
    /// The broker's port; FunLess writes it as text. Absent: 1883, or 8883 with TLS.
    #[serde(default, deserialize_with = "port")]
    port: Option<u16>,
    /// The topic filter: `+` matches one level, a final `#` all levels below.
    pub(super) topic: String,
    /// 1: each message is handled at least once. 0: at most once.
    #[serde(default = "at_least_once")]
    pub(super) qos: u8,
    #[serde(default)]
    pub(super) version: Version,
    /// The connection is encrypted. Absent: as `host` says.
    tls: Option<bool>,
    /// The broker's certificate authority, PEM. Absent: the public ones.
    ca: Option<String>,
    pub(super) username: Option<String>,
    pub(super) password: Option<Secret>,
    /// How long the broker keeps the session while nobody is connected, in seconds. With 3.1.1 the broker decides.
    #[serde(default = "a_week")]
    pub(super) session_expiry_s: u32,
}

/// The protocol's version.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub(super) enum Version {
    #[default]
    #[serde(rename = "5")]
    V5,
    #[serde(rename = "3.1.1")]
    V311,
}

const HOST: AddressParam =
    AddressParam { name: "host", schemes: &["mqtt", "mqtts"], credentials: "username and password" };

/// The maximum length of a topic in MQTT, in bytes.
const MAX_TOPIC: usize = 65_535;

impl Params {
    /// Reads the parameters' JSON text.
    pub(crate) fn parse(params: &str) -> Result<(Self, Handling), String> {
        let (mut params, handling): (Self, _) = handling::read("mqtt", params, handling::PAYLOAD_PARAMS)?;
        params.resolve_host().and_then(|()| params.check()).map_err(|problem| format!("mqtt: {problem}"))?;
        Ok((params, handling))
    }

    /// How traces describe it.
    pub(crate) fn origin(&self) -> Origin {
        Origin::Broker { system: "mqtt", subscription: self.topic.clone() }
    }

    /// Splits an address such as `mqtts://broker:8883` into host, port and TLS.
    fn resolve_host(&mut self) -> Result<(), String> {
        let address = HOST.parse(&self.host)?;
        let by_scheme = address.scheme.map(|scheme| scheme == "mqtts");
        if let (Some(scheme), Some(by_scheme), Some(tls)) = (address.scheme, by_scheme, self.tls)
            && by_scheme != tls
        {
            return Err(format!("tls: {tls} contradicts {scheme}:// in host"));
        }
        if let (Some(in_host), Some(port)) = (address.port, self.port)
            && in_host != port
        {
            return Err(format!("port: {port} contradicts the port {in_host} in host"));
        }
        self.host = address.host;
        self.port = self.port.or(address.port);
        self.tls = self.tls.or(by_scheme);
        Ok(())
    }

    fn check(&self) -> Result<(), String> {
        check_topic_filter(&self.topic).map_err(|problem| format!("topic {problem}"))?;
        match self.qos {
            0 | 1 => {}
            2 => {
                return Err(
                    "qos 2 is not supported: with 1 a redelivered message causes the same invocation".into(),
                );
            }
            other => return Err(format!("qos {other}: expected 0 or 1")),
        }
        if self.password.is_some() && self.username.is_none() {
            return Err("password: expected a username with it".into());
        }
        if self.ca.is_some() && !self.uses_tls() {
            return Err("ca: expected \"tls\": true, or mqtts:// in host".into());
        }
        self.tls()?;
        refuse_redacted([("password", self.password.as_ref().map(Secret::expose))])
    }

    /// The broker's port.
    pub(super) fn port(&self) -> u16 {
        self.port.unwrap_or(if self.uses_tls() { 8883 } else { 1883 })
    }

    fn uses_tls(&self) -> bool {
        self.tls == Some(true)
    }

    /// TLS with the broker, if it is used.
    pub(super) fn tls(&self) -> Result<Option<Arc<rustls::ClientConfig>>, String> {
        if !self.uses_tls() {
            return Ok(None);
        }
        let config = match &self.ca {
            None => mesh::tls::web(),
            Some(pem) => {
                mesh::tls::install_crypto();
                let mut roots = rustls::RootCertStore::empty();
                for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
                    let certificate = certificate.map_err(|error| format!("ca: {error}"))?;
                    roots.add(certificate).map_err(|error| format!("ca: {error}"))?;
                }
                if roots.is_empty() {
                    return Err("ca: no certificate found; expected PEM".into());
                }
                rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth()
            }
        };
        Ok(Some(Arc::new(config)))
    }
}

fn check_topic_filter(topic: &str) -> Result<(), String> {
    if topic.is_empty() {
        return Err("can't be blank".into());
    }
    if topic.len() > MAX_TOPIC || topic.contains('\0') {
        return Err(format!("must have at most {MAX_TOPIC} bytes, none of them zero"));
    }
    let levels: Vec<_> = topic.split('/').collect();
    for (index, level) in levels.iter().enumerate() {
        if level.contains('#') && (*level != "#" || index + 1 != levels.len()) {
            return Err(format!("{topic:?}: # must be the whole of the last level"));
        }
        if level.contains('+') && *level != "+" {
            return Err(format!("{topic:?}: + must be the whole of a level"));
        }
    }
    Ok(())
}

fn at_least_once() -> u8 {
    1
}

fn a_week() -> u32 {
    7 * 24 * 3600
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u16>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum Port {
        Number(u64),
        Text(String),
    }
    let expected =
        |given: &str| de::Error::custom(format!("port {given}: expected a number from 1 to 65535"));
    let given = match Port::deserialize(deserializer) {
        Ok(Port::Number(number)) => number.to_string(),
        Ok(Port::Text(text)) => text,
        Err(_) => return Err(expected("is neither text nor a number")),
    };
    let port = given.trim().parse().ok().filter(|port| *port != 0);
    port.map(Some).ok_or_else(|| expected(&format!("{given:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(params: &str) -> Result<Params, String> {
        Params::parse(params).map(|(params, _)| params)
    }

    #[test]
    fn the_parameters_of_funless_and_their_variants() {
        for (params, port) in [
            (r#"{"host":"h","port":"1884","topic":"t"}"#, 1884),
            (r#"{"host":"h","port":1884,"topic":"a/+/#"}"#, 1884),
            (r#"{"host":"h","topic":"t"}"#, 1883),
            (r#"{"host":"h","topic":"t","tls":true}"#, 8883),
        ] {
            assert_eq!(parse(params).expect(params).port(), port);
        }
        let params = parse(r#"{"host":"h","port":"1884","topic":"t"}"#).expect("valid");
        assert_eq!((params.qos, params.version, params.session_expiry_s), (1, Version::V5, 604_800));
    }

    #[test]
    fn addresses_of_brokers() {
        for (params, host, port, tls) in [
            (r#"{"host":"mqtt://127.0.0.1","topic":"t"}"#, "127.0.0.1", 1883, false),
            (r#"{"host":"127.0.0.1:5883","topic":"t"}"#, "127.0.0.1", 5883, false),
            (r#"{"host":"127.0.0.1:5883","topic":"t","tls":true}"#, "127.0.0.1", 5883, true),
            (r#"{"host":"mqtt://h:1884","port":"1884","topic":"t","tls":false}"#, "h", 1884, false),
            (r#"{"host":"mqtts://h","topic":"t"}"#, "h", 8883, true),
            (r#"{"host":"mqtts://h:8884","topic":"t","tls":true}"#, "h", 8884, true),
            (r#"{"host":"mqtts://h","port":8884,"topic":"t"}"#, "h", 8884, true),
            (r#"{"host":"[::1]:1884","topic":"t"}"#, "::1", 1884, false),
            (r#"{"host":"::1","topic":"t"}"#, "::1", 1883, false),
        ] {
            let parsed = parse(params).expect(params);
            assert_eq!(
                (parsed.host.as_str(), parsed.port(), parsed.uses_tls()),
                (host, port, tls),
                "{params}"
            );
            assert_eq!(parsed.tls().expect("it was checked").is_some(), tls, "{params}");
        }
    }

    #[test]
    fn errors_say_what_was_expected() {
        for (params, expected) in [
            (r#"{"host":"http://h","topic":"t"}"#, "mqtt: host \"http://h\": unknown scheme \"http\""),
            (r#"{"host":"h:0","topic":"t"}"#, "mqtt: host \"h:0\": port \"0\": expected a number from 1"),
            (r#"{"host":"mqtts://h","topic":"t","tls":false}"#, "tls: false contradicts mqtts:// in host"),
            (r#"{"host":"mqtt://h","topic":"t","tls":true}"#, "tls: true contradicts mqtt:// in host"),
            (
                r#"{"host":"h:1883","port":"1884","topic":"t"}"#,
                "port: 1884 contradicts the port 1883 in host",
            ),
            (r#"{"host":"mqtt://u:p@h","topic":"t"}"#, "host: credentials go into username and password"),
            (r#"{"port":"1","topic":"t"}"#, "missing field `host`"),
            (r#"{"host":" ","topic":"t"}"#, "host can't be blank"),
            (r#"{"host":"h","topic":""}"#, "topic can't be blank"),
            (r#"{"host":"h","topic":"a/#/b"}"#, "# must be the whole of the last level"),
            (r#"{"host":"h","topic":"a+"}"#, "+ must be the whole of a level"),
            (r#"{"host":"h","topic":"t","port":"0"}"#, "port \"0\": expected a number from 1 to 65535"),
            (r#"{"host":"h","topic":"t","port":true}"#, "port is neither text nor a number"),
            (r#"{"host":"h","topic":"t","quality":3}"#, "unknown field `quality`"),
            (r#"{"host":"h","topic":"t","qos":2}"#, "qos 2 is not supported"),
            (r#"{"host":"h","topic":"t","qos":3}"#, "qos 3: expected 0 or 1"),
            (r#"{"host":"h","topic":"t","version":"4"}"#, "expected `5` or `3.1.1`"),
            (r#"{"host":"h","topic":"t","password":"p"}"#, "expected a username with it"),
            (r#"{"host":"h","topic":"t","ca":"x"}"#, "ca: expected \"tls\": true, or mqtts:// in host"),
            (r#"{"host":"h","topic":"t","tls":true,"ca":"x"}"#, "ca: no certificate found; expected PEM"),
            (
                r#"{"host":"h","topic":"t","username":"u","password":"***"}"#,
                "password: *** stands for a secret that is not shown; write the secret itself",
            ),
            ("[]", "mqtt: "),
        ] {
            let error = parse(params).expect_err(params);
            assert!(error.contains(expected), "{error:?} says {expected:?}");
        }
    }

    #[test]
    fn the_password_is_not_shown() {
        let secret = r#"{"host":"h","topic":"t","username":"u","password":"hunter2"}"#;
        assert!(!format!("{:?}", parse(secret)).contains("hunter2"));
        let error =
            parse(r#"{"host":"h","topic":"t","username":"u","password":12345}"#).expect_err("a number");
        assert!(!error.contains("12345"), "{error}");
    }
}
