//! Bindings: the event sources and sinks of functions.

use mesh::auth::REDACTED_GIVEN;
use proto::registry::v1::{Binding, BindingList, Function};
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::error::{RegistryError, Result};
use crate::names;
use crate::redaction::is_redacted;
use crate::registry::Registry;
use crate::store::Write;

/// The maximum number of bindings that a function has in one role.
const MAX_BINDINGS: usize = 32;
/// The maximum size of the parameters of one binding.
const MAX_PARAMS_BYTES: usize = 64 << 10;

impl Registry {
    /// Validates a list of bindings and assigns an id to each. Errors name the field `field`.
    pub(crate) fn accept_bindings(
        &self,
        field: &'static str,
        bindings: Vec<Binding>,
    ) -> Result<Vec<Binding>> {
        let bindings = accept(field, bindings)?;
        if !bindings.is_empty() && !self.store.can_encrypt() {
            let message = "cannot be stored: the registry has no encryption_key in its configuration";
            return Err(RegistryError::field(field, message));
        }
        Ok(bindings)
    }

    /// Refuses a write that gives the functions of one subject more parameters than connector and sink should hold for
    /// it. Functions that services have created belong to no subject.
    pub(crate) async fn refuse_too_many_params(&self, write: &Write, function: &Function) -> Result<()> {
        let adds_none = function.events.is_empty() && function.sinks.is_empty();
        if function.creator.is_empty() || adds_none {
            return Ok(());
        }
        let (bytes, most) =
            (write.read().params_bytes_of(&function.creator).await?, self.max_params_bytes_per_subject);
        if bytes <= most {
            return Ok(());
        }
        let message = format!(
            "the events and sinks of {}'s functions have {bytes} bytes of parameters together; the maximum is {most}",
            function.creator
        );
        Err(RegistryError::field("params", message))
    }

    /// Like [`Self::accept_bindings`], for an optional list.
    pub(crate) fn accept_binding_list(
        &self,
        field: &'static str,
        list: Option<BindingList>,
    ) -> Result<Option<Vec<Binding>>> {
        list.map(|list| self.accept_bindings(field, list.bindings)).transpose()
    }
}

fn accept(field: &'static str, bindings: Vec<Binding>) -> Result<Vec<Binding>> {
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
    let params = serde_json::from_str::<Map<String, Value>>(&binding.params).map_err(|error| {
        let message = format!("the params of {} are not a JSON object: {error}", binding.r#type);
        RegistryError::field(field, message)
    })?;
    if is_redacted(&Value::Object(params)) {
        return Err(RegistryError::field(field, REDACTED_GIVEN));
    }
    Ok(Binding { id: Uuid::now_v7().to_string(), ..binding })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn binding(r#type: &str, params: &str) -> Binding {
        Binding { id: "mine".into(), r#type: r#type.into(), params: params.into() }
    }

    #[test]
    fn bindings_are_validated() {
        let refused = [
            (binding("", "{}"), "can't be blank"),
            (binding("mqtt", ""), "not a JSON object"),
            (binding("mqtt", "[]"), "not a JSON object"),
            (binding("mqtt", "{\"a\":}"), "not a JSON object"),
            (binding("mq\0tt", "{}"), "control characters"),
            (binding("mqtt", &format!("{{\"a\":\"{}\"}}", "a".repeat(MAX_PARAMS_BYTES))), "larger than"),
            (binding("mqtt", r#"{"password":"***"}"#), "write the secret itself"),
        ];
        for (binding, expected) in refused {
            let Err(RegistryError::InvalidFields(fields)) = accept("events", vec![binding]) else {
                panic!("accepted, but {expected}");
            };
            assert!(fields[0].0 == "events" && fields[0].1.contains(expected), "{fields:?}");
        }
        let accepted = accept("sinks", vec![binding("couchdb", "{\"url\":\"x\"}")]).expect("valid");
        assert_ne!(accepted[0].id, "mine", "the registry assigns the ids");
        assert!(accept("events", vec![binding("mqtt", "{}"); MAX_BINDINGS + 1]).is_err());
    }
}
