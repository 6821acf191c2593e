//! Which bindings go on with what others have begun.

use proto::registry::v1::Binding;
use serde_json::{Map, Value};

use crate::redaction::redact;

/// What a binding may say about how its events are handled, whatever their source.
const ABOUT_HANDLING: [&str; 6] =
    ["dedupe_key", "envelope", "max_attempts", "max_in_flight", "on_invalid", "payload"];

/// Whether two bindings are of the same source, which goes on with what it has for the one when it becomes
/// the other: they may differ in secrets, and in how events are handled.
pub(crate) fn is_same_source(a: &Binding, b: &Binding) -> bool {
    let source = |binding: &Binding| {
        let mut params = serde_json::from_str::<Map<String, Value>>(&redact(&binding.params)).ok()?;
        params.retain(|name, _| !ABOUT_HANDLING.contains(&name.as_str()));
        Some(params)
    };
    a.r#type == b.r#type && source(a).is_some_and(|a| Some(a) == source(b))
}

/// Whether two bindings are the same but for their ids: then what the one has begun the other goes on
/// with.
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
    fn the_source_is_the_same_however_its_events_are_handled() {
        let one = binding("mqtt", r#"{"topic":"t","password":"p"}"#);
        let cases = [
            (r#"{"topic":"t","password":"q"}"#, true),
            (r#"{"topic":"t","password":"p","on_invalid":"drop","payload":"text","envelope":true}"#, true),
            (r#"{"topic":"t","password":"p","max_in_flight":1,"max_attempts":1,"dedupe_key":"/id"}"#, true),
            (r#"{"topic":"u","password":"p"}"#, false),
        ];
        for (params, expected) in cases {
            assert_eq!(is_same_source(&one, &binding("mqtt", params)), expected, "{params}");
        }
    }

    #[test]
    fn what_is_the_same() {
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
