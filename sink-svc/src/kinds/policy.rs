//! The parameters that all kinds of sinks share: how results are delivered.

use mesh::bindings::BindingParams;
use serde::Deserialize;

/// How results are delivered, whatever the kind.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Policy {
    /// The maximum number of failed attempts before a result becomes a dead letter.
    pub(crate) max_attempts: u32,
    /// How long a result may wait before it becomes a dead letter, in seconds.
    pub(crate) max_age_s: u64,
    /// Delivers results one at a time, in the order in which they arrived: one that fails blocks the others.
    pub(crate) ordered: bool,
    /// The maximum number of concurrent requests. Absent: the kind's default.
    pub(crate) max_in_flight: Option<usize>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { max_attempts: 10, max_age_s: 7 * 24 * 3600, ordered: false, max_in_flight: None }
    }
}

impl Policy {
    /// The names of its parameters.
    pub(super) const NAMES: [&str; 4] = ["max_attempts", "max_age_s", "ordered", "max_in_flight"];
    const MAX_IN_FLIGHT: usize = 256;

    /// Reads the policy of a binding of type `kind`.
    pub(super) fn read(kind: &str, params: &mut BindingParams<'_>) -> Result<Self, String> {
        let policy: Self = params.shared()?;
        policy.check().map_err(|problem| format!("{kind}: {problem}"))?;
        Ok(policy)
    }

    fn check(&self) -> Result<(), String> {
        if self.max_attempts == 0 {
            return Err("max_attempts: expected at least 1".to_owned());
        }
        if self.max_age_s == 0 {
            return Err("max_age_s: expected at least 1".to_owned());
        }
        match self.max_in_flight {
            Some(count) if count == 0 || count > Self::MAX_IN_FLIGHT => {
                Err(format!("max_in_flight: expected 1 to {}", Self::MAX_IN_FLIGHT))
            }
            Some(2..) if self.ordered => Err("max_in_flight: expected 1 with ordered".to_owned()),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(params: &str) -> Result<Policy, String> {
        Policy::read("k", &mut BindingParams::parse("k", params, &Policy::NAMES).expect("an object"))
    }

    #[test]
    fn names_match_the_fields() {
        let policy =
            read(r#"{"max_attempts":1,"max_age_s":2,"ordered":true,"max_in_flight":1}"#).expect("valid");
        assert!(policy.ordered && policy.max_age_s == 2);
        for name in Policy::NAMES {
            let error = read(&format!(r#"{{"{name}":[]}}"#)).expect_err("a wrong type");
            assert!(error.starts_with("k: "), "{name}: {error}");
        }
    }

    #[test]
    fn parameters_out_of_bounds_are_named() {
        for (params, expected) in [
            (r#"{"max_age_s":0}"#, "k: max_age_s: expected at least 1"),
            (r#"{"max_in_flight":0}"#, "k: max_in_flight: expected 1 to 256"),
            (r#"{"max_in_flight":257}"#, "k: max_in_flight: expected 1 to 256"),
            (r#"{"max_in_flight":2,"ordered":true}"#, "k: max_in_flight: expected 1 with ordered"),
        ] {
            assert_eq!(read(params).expect_err(params), expected);
        }
    }
}
