//! Messages of an MQTT broker.

use serde::{Deserialize, Deserializer, de};

/// Which messages of which broker.
#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Params {
    /// The broker's host name or address.
    pub host: String,
    /// Its port; FunLess writes it as text.
    #[serde(default = "default_port", deserialize_with = "port")]
    pub port: u16,
    /// The topic filter: `+` stands for one level, a final `#` for all below.
    pub topic: String,
}

/// The longest topic that MQTT can carry, in bytes.
const MAX_TOPIC: usize = 65_535;

impl Params {
    /// Reads the parameters' JSON text.
    pub fn parse(params: &str) -> Result<Self, String> {
        let params: Self = serde_json::from_str(params).map_err(|error| format!("mqtt: {error}"))?;
        if params.host.trim().is_empty() {
            return Err("mqtt: host can't be blank".into());
        }
        check_topic_filter(&params.topic).map_err(|problem| format!("mqtt: topic {problem}"))?;
        Ok(params)
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

fn default_port() -> u16 {
    1883
}

fn port<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u16, D::Error> {
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
    given.trim().parse().ok().filter(|port| *port != 0).ok_or_else(|| expected(&format!("{given:?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn funless_own_form_and_its_variants() {
        for (params, port) in [
            (r#"{"host":"h","port":"1884","topic":"t"}"#, 1884),
            (r#"{"host":"h","port":1884,"topic":"a/+/#"}"#, 1884),
            (r#"{"host":"h","topic":"t"}"#, 1883),
        ] {
            assert_eq!(Params::parse(params).expect(params).port, port);
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (params, expected) in [
            (r#"{"port":"1","topic":"t"}"#, "missing field `host`"),
            (r#"{"host":" ","topic":"t"}"#, "host can't be blank"),
            (r#"{"host":"h","topic":""}"#, "topic can't be blank"),
            (r#"{"host":"h","topic":"a/#/b"}"#, "# must be the whole of the last level"),
            (r#"{"host":"h","topic":"a+"}"#, "+ must be the whole of a level"),
            (r#"{"host":"h","topic":"t","port":"0"}"#, "port \"0\": expected a number from 1 to 65535"),
            (r#"{"host":"h","topic":"t","port":true}"#, "port is neither text nor a number"),
            (r#"{"host":"h","topic":"t","qos":3}"#, "unknown field `qos`"),
            ("[]", "mqtt: "),
        ] {
            let error = Params::parse(params).expect_err(params);
            assert!(error.contains(expected), "{error:?} says {expected:?}");
        }
    }
}
