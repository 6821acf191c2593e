//! The parameters of a binding: those that every kind has, and the kind's own.

use mesh::auth::{REDACTED, REDACTED_GIVEN, Secret};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

/// How results are delivered, whatever the kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// A result is a dead letter after so many failed attempts.
    pub(crate) max_attempts: u32,
    /// A result that waits for longer is a dead letter, in seconds.
    pub(crate) max_age_s: u64,
    /// One after the other, in the order in which they came: the first one holds up the others.
    pub(crate) ordered: bool,
    /// Requests that run at once. Absent: what suits the kind.
    pub(crate) max_in_flight: Option<usize>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_attempts: 10, max_age_s: 7 * 24 * 3600, ordered: false, max_in_flight: None }
    }
}

impl Policy {
    /// The names of its fields.
    const KEYS: [&str; 4] = ["max_attempts", "max_age_s", "ordered", "max_in_flight"];
    const MOST_IN_FLIGHT: usize = 256;

    fn check(&self) -> Result<(), String> {
        if self.max_attempts == 0 {
            return Err("max_attempts: expected at least 1".to_owned());
        }
        if self.max_age_s == 0 {
            return Err("max_age_s: expected at least 1".to_owned());
        }
        match self.max_in_flight {
            Some(count) if count == 0 || count > Self::MOST_IN_FLIGHT => {
                Err(format!("max_in_flight: expected 1 to {}", Self::MOST_IN_FLIGHT))
            }
            Some(2..) if self.ordered => Err("max_in_flight: expected 1 with ordered".to_owned()),
            _ => Ok(()),
        }
    }
}

/// Parameters on their way to the kind that reads them.
#[derive(Debug)]
pub(super) struct Params<'a> {
    kind: &'a str,
    pub(super) policy: Policy,
    own: Map<String, Value>,
}

impl<'a> Params<'a> {
    /// Reads the JSON text of the parameters of a binding of this kind.
    pub(super) fn parse(kind: &'a str, text: &str) -> Result<Self, String> {
        let problem = |error: serde_json::Error| format!("{kind}: {error}");
        let mut own: Map<String, Value> = serde_json::from_str(text).map_err(problem)?;
        // serde cannot refuse what neither of two flattened structs knows.
        let shared = Policy::KEYS.into_iter().filter_map(|key| own.remove_entry(key)).collect();
        let policy: Policy = serde_json::from_value(Value::Object(shared)).map_err(problem)?;
        policy.check().map_err(|problem| format!("{kind}: {problem}"))?;
        Ok(Self { kind, policy, own })
    }

    /// The kind's own parameters.
    pub(super) fn into_own<T: DeserializeOwned>(self) -> Result<T, String> {
        serde_json::from_value(Value::Object(self.own)).map_err(|error| {
            let shared = match error.to_string().starts_with("unknown field") {
                true => format!("; every kind takes {}", Policy::KEYS.join(", ")),
                false => String::new(),
            };
            format!("{}: {error}{shared}", self.kind)
        })
    }
}

/// Refuses what was copied from where secrets are not shown.
pub(super) fn refuse_redacted<'a>(secrets: impl IntoIterator<Item = &'a str>) -> Result<(), String> {
    match secrets.into_iter().any(|secret| secret == REDACTED) {
        true => Err(REDACTED_GIVEN.to_owned()),
        false => Ok(()),
    }
}

/// What a secret that may be absent holds.
pub(super) fn exposed(secret: &Option<Secret>) -> Option<&str> {
    secret.as_ref().map(Secret::expose)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_policy_s_keys_are_its_fields() {
        let policy: Policy =
            serde_json::from_str(r#"{"max_attempts":1,"max_age_s":2,"ordered":true,"max_in_flight":1}"#)
                .expect("all of its keys");
        assert!(policy.ordered && policy.max_age_s == 2);
        for key in Policy::KEYS {
            let params = format!(r#"{{"{key}":[]}}"#);
            let error = Params::parse("k", &params).expect_err("of another type");
            assert!(error.starts_with("k: "), "{key} is taken out, and refused: {error}");
        }
    }

    #[test]
    fn policies_out_of_bounds_are_named() {
        for (params, expected) in [
            (r#"{"max_age_s":0}"#, "k: max_age_s: expected at least 1"),
            (r#"{"max_in_flight":0}"#, "k: max_in_flight: expected 1 to 256"),
            (r#"{"max_in_flight":257}"#, "k: max_in_flight: expected 1 to 256"),
            (r#"{"max_in_flight":2,"ordered":true}"#, "k: max_in_flight: expected 1 with ordered"),
        ] {
            assert_eq!(Params::parse("k", params).expect_err(params), expected);
        }
    }
}
