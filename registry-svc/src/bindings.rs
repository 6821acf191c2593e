//! Bindings: the event sources and sinks of functions.

use mesh::Caller;
use proto::registry::v1::{Binding, BindingRole, FunctionBinding};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::{RegistryError, Result};
use crate::names;
use crate::registry::{Registry, only_services};

/// What a secret reads as.
const REDACTED: &str = "***";
/// Parameters with these names are secrets, in any case.
const SECRETS: [&str; 5] = ["password", "token", "secret", "key", "api_key"];

/// Bindings of a function in one role.
const MAX_BINDINGS: usize = 32;
/// Parameters of one binding.
const MAX_PARAMS_BYTES: usize = 64 << 10;

impl Registry {
    /// The bindings of all functions in one role, secrets included, and the revision at which they
    /// were so.
    pub(crate) async fn list_bindings(
        &self,
        caller: &Caller,
        role: i32,
    ) -> Result<(Vec<FunctionBinding>, u64)> {
        only_services(caller)?;
        let role = match BindingRole::try_from(role) {
            Ok(role @ (BindingRole::Event | BindingRole::Sink)) => role,
            Ok(BindingRole::Unspecified) | Err(_) => {
                let expected = "must be BINDING_ROLE_EVENT or BINDING_ROLE_SINK";
                return Err(RegistryError::field("role", expected));
            }
        };
        let snapshot = self.store.snapshot().await?;
        Ok((snapshot.read().bindings(role).await?, snapshot.read().revision().await?))
    }
}

/// Accepts a list of bindings and gives each an id. `field` is where they came in.
pub(crate) fn accept(field: &'static str, bindings: Vec<Binding>) -> Result<Vec<Binding>> {
    if bindings.len() > MAX_BINDINGS {
        return Err(RegistryError::field(field, format!("should be at most {MAX_BINDINGS}")));
    }
    bindings.into_iter().map(|binding| accept_one(field, binding)).collect()
}

fn accept_one(field: &'static str, binding: Binding) -> Result<Binding> {
    if binding.r#type.trim().is_empty() {
        return Err(RegistryError::field(field, "a type can't be blank"));
    }
    names::check_text(field, &binding.r#type)?;
    if binding.params.len() > MAX_PARAMS_BYTES {
        let message = format!("the params of {} are larger than {MAX_PARAMS_BYTES} bytes", binding.r#type);
        return Err(RegistryError::field(field, message));
    }
    if let Err(error) = serde_json::from_str::<Map<String, Value>>(&binding.params) {
        let message = format!("the params of {} are no JSON object: {error}", binding.r#type);
        return Err(RegistryError::field(field, message));
    }
    Ok(Binding { id: Uuid::now_v7().to_string(), ..binding })
}

/// The parameters of a binding without its secrets: for everyone.
pub(crate) fn redact(params: &str) -> String {
    match serde_json::from_str(params) {
        Ok(params) => redact_value(params).to_string(),
        Err(_) => Value::from(REDACTED).to_string(),
    }
}

fn redact_value(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let members = members.into_iter().map(|(name, value)| {
                let is_secret = SECRETS.iter().any(|secret| name.eq_ignore_ascii_case(secret));
                let value = if is_secret { Value::from(REDACTED) } else { redact_value(value) };
                (name, value)
            });
            Value::Object(members.collect())
        }
        Value::Array(items) => items.into_iter().map(redact_value).collect(),
        Value::String(text) => Value::String(redact_userinfo(&text)),
        scalar @ (Value::Null | Value::Bool(_) | Value::Number(_)) => scalar,
    }
}

/// `scheme://user:password@host` reads as `scheme://***@host`, as often as it stands in `text`.
fn redact_userinfo(text: &str) -> String {
    const SCHEME_END: &str = "://";
    let mut parts = text.split(SCHEME_END);
    let mut redacted = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        redacted.push_str(SCHEME_END);
        let authority = part.find(['/', '?', '#', ',', ' ']).unwrap_or(part.len());
        // A password that was not encoded as it should be may hold any of these.
        let userinfo = part[..authority].rfind('@').or_else(|| part.rfind('@'));
        match userinfo {
            Some(end) => {
                redacted.push_str(REDACTED);
                redacted.push_str(&part[end..]);
            }
            None => redacted.push_str(part),
        }
    }
    redacted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_redacted() {
        let cases = [
            (r#"{"host":"h","port":1883}"#, r#"{"host":"h","port":1883}"#),
            (r#"{"password":"p","username":"u"}"#, r#"{"password":"***","username":"u"}"#),
            (r#"{"Token":1,"a":[{"API_KEY":{"x":1}}]}"#, r#"{"Token":"***","a":[{"API_KEY":"***"}]}"#),
            (r#"{"url":"http://u:p@h:5984/db"}"#, r#"{"url":"http://***@h:5984/db"}"#),
            (r#"{"url":"http://h/a@b"}"#, r#"{"url":"http://***@b"}"#),
            (r#"{"url":"http://u:p/w@h/db"}"#, r#"{"url":"http://***@h/db"}"#),
            (r#"{"urls":"a://u:p@h,b://v:q@i/x"}"#, r#"{"urls":"a://***@h,b://***@i/x"}"#),
            (r#"{"mail":"a@b.c"}"#, r#"{"mail":"a@b.c"}"#),
        ];
        for (params, expected) in cases {
            assert_eq!(redact(params), expected);
        }
    }

    #[test]
    fn bindings_are_checked() {
        let binding = |r#type: &str, params: &str| Binding {
            id: "mine".into(),
            r#type: r#type.into(),
            params: params.into(),
        };
        let refused = [
            (binding("", "{}"), "can't be blank"),
            (binding("mqtt", ""), "no JSON object"),
            (binding("mqtt", "[]"), "no JSON object"),
            (binding("mqtt", "{\"a\":}"), "no JSON object"),
            (binding("mq\0tt", "{}"), "control characters"),
            (binding("mqtt", &format!("{{\"a\":\"{}\"}}", "a".repeat(MAX_PARAMS_BYTES))), "larger than"),
        ];
        for (binding, expected) in refused {
            let Err(RegistryError::InvalidFields(fields)) = accept("events", vec![binding]) else {
                panic!("accepted, but {expected}");
            };
            assert!(fields[0].0 == "events" && fields[0].1.contains(expected), "{fields:?}");
        }
        let accepted = accept("sinks", vec![binding("couchdb", "{\"url\":\"x\"}")]).expect("valid");
        assert_ne!(accepted[0].id, "mine", "ids are the registry's");
        assert!(accept("events", vec![binding("mqtt", "{}"); MAX_BINDINGS + 1]).is_err());
    }
}
