//! The parameters of bindings that are common to all kinds: how events are handled.

use mesh::bindings::BindingParams;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

/// How the events of a binding are handled.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Handling {
    /// The function gets an envelope with the payload and the event's metadata.
    pub(crate) envelope: bool,
    /// What payloads are.
    pub(crate) payload: PayloadForm,
    /// What becomes of events with other payloads.
    pub(crate) on_invalid: OnInvalid,
    /// The maximum number of events in flight.
    pub(crate) max_in_flight: u16,
    /// How many attempts may fail because of the platform before the event becomes a dead letter.
    pub(crate) max_attempts: u32,
    /// How long an event may wait before it becomes a dead letter, in seconds.
    pub(crate) max_age_s: u64,
    /// What identifies duplicates.
    pub(crate) dedupe_key: Option<DedupeKey>,
}

impl Default for Handling {
    fn default() -> Self {
        Self {
            envelope: false,
            payload: PayloadForm::Json,
            on_invalid: OnInvalid::DeadLetter,
            max_in_flight: 64,
            max_attempts: 5,
            max_age_s: 7 * 24 * 3600,
            dedupe_key: None,
        }
    }
}

impl Handling {
    fn check(&self) -> Result<(), String> {
        if self.max_in_flight == 0 {
            return Err("max_in_flight: expected at least 1".into());
        }
        if self.max_attempts == 0 {
            return Err("max_attempts: expected at least 1".into());
        }
        if self.max_age_s == 0 {
            return Err("max_age_s: expected at least 1".into());
        }
        Ok(())
    }
}

/// How a payload is turned into JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum PayloadForm {
    /// It must be JSON.
    Json,
    /// It must be UTF-8, and becomes a JSON string.
    Text,
    /// It may be anything, and becomes a JSON string in Base64.
    Base64,
}

/// What becomes of an invalid event. It is counted in either case.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OnInvalid {
    /// It becomes a dead letter.
    DeadLetter,
    /// It is acknowledged and discarded.
    Drop,
}

impl<'de> Deserialize<'de> for OnInvalid {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let found = Value::deserialize(deserializer)?;
        match found.as_str() {
            Some("dead_letter") => Ok(Self::DeadLetter),
            Some("drop") => Ok(Self::Drop),
            _ => Err(serde::de::Error::custom(format!(
                "on_invalid {found}: expected \"dead_letter\" or \"drop\""
            ))),
        }
    }
}

/// Where an event has its deduplication key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum DedupeKey {
    /// In its payload, at a JSON pointer.
    Pointer(String),
    /// In its property with this name.
    Property(String),
}

impl<'de> Deserialize<'de> for DedupeKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        match text.strip_prefix("property:") {
            Some(name) if !name.is_empty() => Ok(Self::Property(name.to_owned())),
            _ if text.starts_with('/') => Ok(Self::Pointer(text)),
            _ => Err(serde::de::Error::custom(format!(
                "dedupe_key {text:?}: expected a JSON pointer such as \"/id\", or \"property:NAME\""
            ))),
        }
    }
}

/// The parameters of every kind.
pub(crate) const COMMON_PARAMS: &[&str] = &["max_in_flight", "max_attempts", "max_age_s"];
/// The parameters of the kinds whose events have payloads.
pub(crate) const PAYLOAD_PARAMS: &[&str] =
    &["envelope", "payload", "on_invalid", "max_in_flight", "max_attempts", "max_age_s", "dedupe_key"];

/// Reads the parameters of a binding of type `kind`: those in `common` are about handling, the others about the source.
/// An error begins with the kind's name.
pub(crate) fn read<P: DeserializeOwned>(
    kind: &str,
    params: &str,
    common: &[&str],
) -> Result<(P, Handling), String> {
    let mut params = BindingParams::parse(kind, params, common)?;
    let handling: Handling = params.shared()?;
    handling.check().map_err(|problem| format!("{kind}: {problem}"))?;
    Ok((params.own()?, handling))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Source {
        #[expect(dead_code, reason = "only read")]
        host: String,
    }

    fn handling(params: &str) -> Result<Handling, String> {
        read::<Source>("kind", params, PAYLOAD_PARAMS).map(|(_, handling)| handling)
    }

    #[test]
    fn parameters_have_defaults() {
        assert_eq!(handling(r#"{"host":"h"}"#), Ok(Handling::default()));
        let given = r#"{"host":"h","envelope":true,"payload":"base64","on_invalid":"drop","max_in_flight":1,
            "max_attempts":9,"max_age_s":60,"dedupe_key":"property:id"}"#;
        let expected = Handling {
            envelope: true,
            payload: PayloadForm::Base64,
            on_invalid: OnInvalid::Drop,
            max_in_flight: 1,
            max_attempts: 9,
            max_age_s: 60,
            dedupe_key: Some(DedupeKey::Property("id".into())),
        };
        assert_eq!(handling(given), Ok(expected));
    }

    #[test]
    fn errors_say_what_was_expected() {
        for (params, expected) in [
            ("[]", "kind: invalid type: sequence, expected a map"),
            ("{}", "kind: missing field `host`"),
            (r#"{"host":"h","hots":1}"#, "unknown field `hots`"),
            (r#"{"host":"h","payload":"xml"}"#, "expected one of `json`, `text`, `base64`"),
            (
                r#"{"host":"h","on_invalid":"keep"}"#,
                "on_invalid \"keep\": expected \"dead_letter\" or \"drop\"",
            ),
            (r#"{"host":"h","on_invalid":null}"#, "on_invalid null: expected \"dead_letter\""),
            (r#"{"host":"h","max_in_flight":0}"#, "max_in_flight: expected at least 1"),
            (r#"{"host":"h","max_in_flight":65536}"#, "expected u16"),
            (r#"{"host":"h","max_attempts":0}"#, "max_attempts: expected at least 1"),
            (r#"{"host":"h","max_age_s":0}"#, "max_age_s: expected at least 1"),
            (r#"{"host":"h","dedupe_key":"id"}"#, "expected a JSON pointer such as \"/id\""),
            (r#"{"host":"h","dedupe_key":"property:"}"#, "or \"property:NAME\""),
        ] {
            let error = handling(params).expect_err(params);
            assert!(error.contains(expected), "{error:?} says {expected:?}");
        }
        for (params, field) in [
            (r#"{"host":"h","envelope":true}"#, "envelope"),
            (r#"{"host":"h","on_invalid":"drop"}"#, "on_invalid"),
        ] {
            let error =
                read::<Source>("kind", params, COMMON_PARAMS).expect_err("its events have no payload");
            assert!(error.contains(&format!("unknown field `{field}`")), "{error}");
        }
    }
}
