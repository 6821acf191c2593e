//! The table `console`.

use std::fmt;

use mesh::auth::Secret;
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, MapAccess, Visitor};

/// What stands for the id of a trace in `trace_url`.
pub(crate) const TRACE_ID: &str = "{trace_id}";

const KEY_BYTES: usize = 32;

/// The console at `/console`. In place of the table, `true` and `false` turn it on and off.
#[derive(Debug, Clone, Default)]
pub struct ConsoleConfig {
    /// Whether it is served.
    pub enabled: bool,
    /// The key that seals sessions: 64 hexadecimal digits, the same for all gateways behind one address. Absent: a
    /// random one, so that sessions end when the gateway does.
    pub key: Option<Secret>,
    /// Where traces are shown: an `http` or `https` URL with `{trace_id}`. Absent: traces have no links.
    pub trace_url: Option<String>,
}

/// The same, as a table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    #[serde(default = "on")]
    enabled: bool,
    key: Option<Secret>,
    trace_url: Option<String>,
}

/// Whoever writes the table wants the console.
fn on() -> bool {
    true
}

impl ConsoleConfig {
    /// The bytes of `key`.
    pub(crate) fn key_bytes(&self) -> Option<Result<[u8; KEY_BYTES], String>> {
        let key = self.key.as_ref()?;
        let mut bytes = [0; KEY_BYTES];
        let decoded = hex::decode_to_slice(key.expose(), &mut bytes);
        let wrong = |_| format!("console.key: expected {} hexadecimal digits", 2 * KEY_BYTES);
        Some(decoded.map(|()| bytes).map_err(wrong))
    }

    pub(super) fn validate(&self) -> Result<(), String> {
        self.key_bytes().transpose()?;
        let Some(url) = &self.trace_url else { return Ok(()) };
        let is_web = url.starts_with("http://") || url.starts_with("https://");
        match is_web && url.contains(TRACE_ID) {
            true => Ok(()),
            false => {
                Err(format!("console.trace_url: expected an http or https URL with {TRACE_ID}, not {url:?}"))
            }
        }
    }
}

impl<'de> Deserialize<'de> for ConsoleConfig {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(BoolOrTable)
    }
}

struct BoolOrTable;

impl<'de> Visitor<'de> for BoolOrTable {
    type Value = ConsoleConfig;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("true, false or a table")
    }

    fn visit_bool<E>(self, enabled: bool) -> Result<ConsoleConfig, E> {
        Ok(ConsoleConfig { enabled, ..ConsoleConfig::default() })
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<ConsoleConfig, A::Error> {
        let Table { enabled, key, trace_url } = Table::deserialize(MapAccessDeserializer::new(map))?;
        Ok(ConsoleConfig { enabled, key, trace_url })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_truth_value_or_a_table() {
        let read = |value| serde_json::from_value::<ConsoleConfig>(value);
        let enabled = |value| read(value).expect("valid").enabled;
        assert!(
            enabled(json!(true))
                && enabled(json!({}))
                && enabled(json!({"trace_url": "http://t/{trace_id}"}))
        );
        assert!(!enabled(json!(false)) && !enabled(json!({"enabled": false})));
        for (wrong, message) in [
            (json!("yes"), "expected true, false or a table"),
            (json!({"on": true}), "unknown field `on`"),
            (json!({"enabled": 1}), "expected a boolean"),
        ] {
            let error = read(wrong).expect_err(message).to_string();
            assert!(error.contains(message), "{error}");
        }
    }
}
