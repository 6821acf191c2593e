//! The schemas of an OpenAPI document, as people read them.

use anyhow::Context as _;
use serde_json::{Map, Value};

use super::markdown::{code, line, link};

/// The prefix of references to named schemas.
const NAMED: &str = "#/components/schemas/";
/// Names of schemas that are `{"data": ...}` begin with this; what is in it is shown in place.
const ENVELOPE: &str = "Data_";
/// What follows in the names of envelopes with lists.
const LIST: &str = "Vec_";

/// The schemas of a document.
#[derive(Debug)]
pub(super) struct Schemas<'a> {
    document: &'a Value,
}

impl<'a> Schemas<'a> {
    pub(super) fn new(document: &'a Value) -> Self {
        Self { document }
    }

    /// The named schemas other than envelopes, in the order of their names.
    pub(super) fn named(&self) -> anyhow::Result<impl Iterator<Item = (&'a String, &'a Value)>> {
        let schemas = self.document["components"]["schemas"].as_object().context("no schemas")?;
        Ok(schemas.iter().filter(|(name, _)| !name.starts_with(ENVELOPE)))
    }

    fn resolve(&self, schema: &'a Value) -> &'a Value {
        match name_of(schema) {
            Some(name) => &self.document["components"]["schemas"][name],
            None => schema,
        }
    }

    /// The type in words, with links to the named ones.
    pub(super) fn type_of(&self, schema: &'a Value) -> String {
        if let Some(name) = name_of(schema) {
            return match name.strip_prefix(ENVELOPE) {
                Some(_) => format!("`data`: {}", self.data_of(name)),
                None => link(name),
            };
        }
        for (key, joint) in [("oneOf", " or "), ("anyOf", " or "), ("allOf", " with ")] {
            if let Some(parts) = schema[key].as_array() {
                let parts: Vec<_> = parts.iter().map(|part| self.type_of(part)).collect();
                return parts.join(joint);
            }
        }
        if let Some(values) = schema["enum"].as_array() {
            let values: Vec<_> = values.iter().map(|value| code(&value.to_string())).collect();
            return values.join(" or ");
        }
        match &schema["type"] {
            Value::Array(types) => {
                let parts = types.iter().map(|one| self.simple(one.as_str().unwrap_or_default(), schema));
                parts.collect::<Vec<_>>().join(" or ")
            }
            Value::String(one) => self.simple(one, schema),
            _ => "any JSON".into(),
        }
    }

    fn simple(&self, name: &str, schema: &'a Value) -> String {
        match name {
            "array" => format!("list of {}", self.type_of(&schema["items"])),
            "object" if schema["additionalProperties"].is_object() => {
                format!("object of {}", self.type_of(&schema["additionalProperties"]))
            }
            "object" => match schema["properties"].as_object() {
                Some(properties) => {
                    let names: Vec<_> = properties.keys().map(|name| code(name)).collect();
                    format!("object with {}", names.join(", "))
                }
                None => "object".into(),
            },
            "string" if schema["format"] == "binary" => "file".into(),
            other => other.into(),
        }
    }

    /// What is in an envelope. It is written out in the envelope's schema, whose name ends with that of its type.
    fn data_of(&self, name: &str) -> String {
        let schemas = &self.document["components"]["schemas"];
        let data = &schemas[name]["properties"]["data"];
        let name = name.strip_prefix(ENVELOPE).unwrap_or(name);
        let (element, is_list) = name.strip_prefix(LIST).map_or((name, false), |element| (element, true));
        match (schemas[element].is_object(), is_list) {
            (true, true) => format!("list of {}", link(element)),
            (true, false) => link(element),
            (false, _) => self.type_of(data),
        }
    }

    /// A row for each field: its name, its type, and what it means.
    pub(super) fn fields(&self, schema: &'a Value) -> Vec<[String; 3]> {
        let schema = self.resolve(schema);
        let mut rows = Vec::new();
        for part in schema["allOf"].as_array().into_iter().flatten() {
            rows.extend(self.fields(part));
        }
        let required = |name: &str| {
            schema["required"].as_array().is_some_and(|names| names.iter().any(|required| required == name))
        };
        for (name, field) in schema["properties"].as_object().into_iter().flat_map(Map::iter) {
            let kind = self.type_of(field);
            let required = if required(name) { ", required" } else { "" };
            rows.push([code(name), format!("{kind}{required}"), meaning(field)]);
        }
        rows
    }
}

/// The description of a field. If the field may be null, that of its type is beside the type.
fn meaning(field: &Value) -> String {
    let of_alternative = field["oneOf"].as_array().and_then(|parts| parts.iter().find_map(description));
    let mut meaning = line(description(field).or(of_alternative).unwrap_or_default());
    if let Some(default) = field.get("default") {
        meaning = format!("{meaning} Default: {}.", code(&default.to_string()));
    }
    meaning
}

fn description(schema: &Value) -> Option<&str> {
    schema["description"].as_str()
}

fn name_of(schema: &Value) -> Option<&str> {
    schema["$ref"].as_str()?.strip_prefix(NAMED)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn types_are_words() {
        let document = json!({ "components": { "schemas": {
            "Data_Thing": { "properties": { "data": { "type": "object", "properties": { "a": {} } } } },
            "Thing": { "type": "object", "properties": { "a": {} } },
        } } });
        let schemas = Schemas::new(&document);
        for (schema, expected) in [
            (json!({ "type": "string" }), "string"),
            (json!({ "type": ["integer", "null"] }), "integer or null"),
            (
                json!({ "type": "array", "items": { "$ref": "#/components/schemas/Thing" } }),
                "list of [`Thing`](#thing)",
            ),
            (json!({ "$ref": "#/components/schemas/Data_Thing" }), "`data`: [`Thing`](#thing)"),
            (json!({ "enum": ["*"] }), "`\"*\"`"),
            (json!({ "type": "object", "additionalProperties": { "type": "integer" } }), "object of integer"),
            (json!({}), "any JSON"),
        ] {
            // The document has to outlive what is borrowed from it.
            let schema = Box::leak(Box::new(schema));
            assert_eq!(schemas.type_of(schema), expected);
        }
    }
}
