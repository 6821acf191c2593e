//! Decides which bindings continue the work of former ones.

use proto::registry::v1::Binding;
use serde_json::{Map, Value};

use crate::redaction::redact;

/// The parameters that control how events are handled. They are the same for all kinds of event sources.
const HANDLING_PARAMS: [&str; 7] =
    ["dedupe_key", "envelope", "max_age_s", "max_attempts", "max_in_flight", "on_invalid", "payload"];

/// Whether two bindings have the same event source. They may differ in their secrets and in how events are
/// handled. One can then replace the other and continue with its pending events.
pub(crate) fn is_same_source(a: &Binding, b: &Binding) -> bool {
    let source = |binding: &Binding| {
        let mut params = serde_json::from_str::<Map<String, Value>>(&redact(&binding.params)).ok()?;
        params.retain(|name, _| !HANDLING_PARAMS.contains(&name.as_str()));
        Some(params)
    };
    a.r#type == b.r#type && source(a).is_some_and(|a| Some(a) == source(b))
}

/// Whether two bindings are equal except for their ids. If so, one continues the work of the other.
pub(crate) fn is_same(a: &Binding, b: &Binding) -> bool {
    let params = |binding: &Binding| serde_json::from_str::<Value>(&binding.params).ok();
    a.r#type == b.r#type && params(a).is_some_and(|a| Some(a) == params(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(r#type: &str, params: &str) -> Binding {
        Binding { id: "mine".into(), r#type: r#type.into(), params: params.into() }
    }

    #[test]
    fn handling_parameters_and_secrets_do_not_change_the_source() {
        let one = binding("mqtt", r#"{"topic":"t","password":"p"}"#);
        let cases = [
            (r#"{"topic":"t","password":"q"}"#, true),
            (r#"{"topic":"t","password":"p","on_invalid":"drop","payload":"text","envelope":true}"#, true),
            (
                r#"{"topic":"t","password":"p","max_in_flight":1,"max_attempts":1,"max_age_s":9,"dedupe_key":"/id"}"#,
                true,
            ),
            (r#"{"topic":"u","password":"p"}"#, false),
        ];
        for (params, expected) in cases {
            assert_eq!(is_same_source(&one, &binding("mqtt", params)), expected, "{params}");
        }
    }

    #[test]
    fn bindings_with_equal_kind_and_parameters_are_the_same() {
        let one = binding("mqtt", r#"{"topic":"t","port":1}"#);
        let cases = [
            (binding("mqtt", r#"{ "port": 1, "topic": "t" }"#), true),
            (binding("nats", r#"{"topic":"t","port":1}"#), false),
            (binding("mqtt", r#"{"topic":"t","port":"1"}"#), false),
            (binding("mqtt", r#"{"topic":"t"}"#), false),
        ];
        for (other, expected) in cases {
            assert_eq!(is_same(&one, &other), expected, "{other:?}");
        }
    }
}
