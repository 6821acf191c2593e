//! The parameters of a binding: those that all kinds of a role share, and the kind's own.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use crate::auth::{REDACTED, REDACTED_GIVEN};

/// The parameters of a binding. Errors name the kind, and what was expected.
#[derive(Debug)]
pub struct BindingParams<'a> {
    kind: &'a str,
    shared_names: &'a [&'a str],
    shared: Map<String, Value>,
    own: Map<String, Value>,
}

impl<'a> BindingParams<'a> {
    /// Parses the JSON object `params` of a binding of type `kind`. The parameters in `shared_names` are common to
    /// several kinds.
    pub fn parse(kind: &'a str, params: &str, shared_names: &'a [&'a str]) -> Result<Self, String> {
        let params: Map<String, Value> =
            serde_json::from_str(params).map_err(|error| format!("{kind}: {error}"))?;
        // Not `serde(flatten)`, which cannot refuse unknown fields.
        let (shared, own) = params.into_iter().partition(|(name, _)| shared_names.contains(&name.as_str()));
        Ok(Self { kind, shared_names, shared, own })
    }

    /// Reads the shared parameters.
    pub fn shared<T: DeserializeOwned>(&mut self) -> Result<T, String> {
        let shared = std::mem::take(&mut self.shared);
        serde_json::from_value(Value::Object(shared)).map_err(|error| format!("{}: {error}", self.kind))
    }

    /// Reads the kind's own parameters.
    pub fn own<T: DeserializeOwned>(self) -> Result<T, String> {
        serde_json::from_value(Value::Object(self.own)).map_err(|error| {
            let shared = match error.to_string().starts_with("unknown field") {
                true => format!("; it also takes {}", self.shared_names.join(", ")),
                false => String::new(),
            };
            format!("{}: {error}{shared}", self.kind)
        })
    }
}

/// Refuses the placeholder that is shown instead of a secret, as when a user copies a binding that was read from the
/// API. Each secret has the name of its parameter.
pub fn refuse_redacted<'a>(
    secrets: impl IntoIterator<Item = (&'a str, Option<&'a str>)>,
) -> Result<(), String> {
    match secrets.into_iter().find(|(_, secret)| *secret == Some(REDACTED)) {
        Some((name, _)) => Err(format!("{name}: {REDACTED_GIVEN}")),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    struct Shared {
        max_attempts: u32,
    }

    impl Default for Shared {
        fn default() -> Self {
            Self { max_attempts: 5 }
        }
    }

    #[derive(Debug, PartialEq, Eq, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Own {
        host: String,
    }

    fn read(params: &str) -> Result<(u32, String), String> {
        let mut params = BindingParams::parse("kind", params, &["max_attempts"])?;
        let Shared { max_attempts } = params.shared()?;
        let Own { host } = params.own()?;
        Ok((max_attempts, host))
    }

    #[test]
    fn shared_parameters_stand_beside_the_kinds_own() {
        assert_eq!(read(r#"{"host":"h"}"#), Ok((5, "h".into())));
        assert_eq!(read(r#"{"host":"h","max_attempts":1}"#), Ok((1, "h".into())));
    }

    #[test]
    fn errors_name_the_kind_and_what_was_expected() {
        for (params, expected) in [
            ("{", "kind: EOF while parsing an object at line 1 column 1"),
            ("[]", "kind: invalid type: sequence, expected a map at line 1 column 0"),
            ("{}", "kind: missing field `host`"),
            (
                r#"{"host":"h","hots":1}"#,
                "kind: unknown field `hots`, expected `host`; it also takes max_attempts",
            ),
            (r#"{"host":"h","max_attempts":"1"}"#, "kind: invalid type: string \"1\", expected u32"),
        ] {
            assert_eq!(read(params).expect_err(params), expected);
        }
    }

    #[test]
    fn the_placeholder_of_a_secret_is_refused() {
        assert_eq!(refuse_redacted([("password", Some("hunter2")), ("token", None)]), Ok(()));
        let secrets = [("password", Some("hunter2")), ("token", Some("***"))];
        let error = refuse_redacted(secrets).expect_err("a placeholder");
        assert_eq!(error, "token: *** stands for a secret that is not shown; write the secret itself");
    }
}
