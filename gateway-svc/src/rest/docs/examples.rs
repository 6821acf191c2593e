//! Examples of all operations: a request and its response in the document, and the same request as a curl
//! line.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::Value;
use utoipa::openapi::path::{Operation, ParameterBuilder};
use utoipa::openapi::security::SecurityRequirement;
use utoipa::openapi::{Content, OpenApi, PathItem, RefOr};

/// The gateway's default address, for the curl lines.
const ADDRESS: &str = "http://127.0.0.1:4000";
/// The prefix of paths that require an administrator's token.
const FOR_ADMINISTRATORS: &str = "/v1/admin/";
const MULTIPART: &str = "multipart/form-data";

/// The content of `examples.json`. A test checks that it has an example for each operation.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Examples {
    /// Values of the path parameters.
    path: BTreeMap<String, Value>,
    /// Examples by operation id.
    operations: BTreeMap<String, Call>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Call {
    query: BTreeMap<String, Value>,
    /// The body, or the text parts of a form.
    request: Option<Value>,
    /// The file parts of a form.
    files: BTreeMap<String, String>,
    /// The body of the response. Absent: it has none.
    response: Option<Value>,
}

/// Adds the examples to each operation.
pub(super) fn add(document: &mut OpenApi) {
    let examples = include_str!("examples.json");
    let Examples { path: values, operations: mut calls } =
        serde_json::from_str(examples).expect("the examples come from our own build");
    for (path, item) in &mut document.paths.paths {
        for (method, operation) in operations(item) {
            let call = operation.operation_id.as_ref().and_then(|id| calls.remove(id));
            if let Some(call) = call {
                show_parameters(operation, &values, &call.query);
                show_bodies(operation, &call);
                let line = curl(method, &fill(path, &values), operation, &call);
                let description = operation.description.take().unwrap_or_default();
                operation.description =
                    Some(format!("{description}\n\n```sh\n{line}\n```").trim_start().into());
            }
        }
    }
}

/// The operations of a path, with their methods.
pub(super) fn operations(item: &mut PathItem) -> impl Iterator<Item = (&'static str, &mut Operation)> {
    let PathItem { get, put, post, delete, .. } = item;
    let operations = [("GET", get), ("PUT", put), ("POST", post), ("DELETE", delete)];
    operations.into_iter().filter_map(|(method, operation)| Some((method, operation.as_mut()?)))
}

fn show_parameters(
    operation: &mut Operation,
    path: &BTreeMap<String, Value>,
    query: &BTreeMap<String, Value>,
) {
    for parameter in operation.parameters.iter_mut().flatten() {
        let RefOr::T(parameter) = parameter else { continue };
        let example = path.get(&parameter.name).or_else(|| query.get(&parameter.name));
        if let Some(example) = example {
            let shown = ParameterBuilder::from(parameter.clone());
            *parameter = shown.example(Some(example.clone())).build();
        }
    }
}

fn show_bodies(operation: &mut Operation, call: &Call) {
    if let (Some(RefOr::T(body)), Some(request)) = (&mut operation.request_body, &call.request) {
        show(body.content.values_mut(), request);
    }
    let success = operation.responses.responses.iter_mut().find(|(status, _)| status.starts_with('2'));
    if let (Some((_, RefOr::T(response))), Some(example)) = (success, &call.response) {
        show(response.content.values_mut(), example);
    }
}

fn show<'c>(contents: impl Iterator<Item = &'c mut RefOr<Content>>, example: &Value) {
    for content in contents {
        if let RefOr::T(content) = content {
            content.example = Some(example.clone());
        }
    }
}

/// Replaces the path parameters with values.
fn fill(path: &str, values: &BTreeMap<String, Value>) -> String {
    values
        .iter()
        .fold(path.to_owned(), |path, (name, value)| path.replace(&format!("{{{name}}}"), &text(value)))
}

fn curl(method: &str, path: &str, operation: &Operation, call: &Call) -> String {
    let mut words = vec!["curl".to_owned()];
    let form = is_form(operation);
    let implied = if call.request.is_some() { "POST" } else { "GET" };
    if method != implied {
        words.push(format!("-X {method}"));
    }
    if operation.security != Some(vec![SecurityRequirement::default()]) {
        let token = if path.starts_with(FOR_ADMINISTRATORS) { "ADMIN_TOKEN" } else { "TOKEN" };
        words.push(format!(r#"-H "Authorization: Bearer ${token}""#));
    }
    match &call.request {
        Some(Value::Object(parts)) if form => {
            words.extend(
                parts.iter().map(|(name, value)| format!("-F {}", quote(&format!("{name}={}", text(value))))),
            );
        }
        Some(body) => {
            words.push("-H 'Content-Type: application/json'".to_owned());
            words.push(format!("-d {}", quote(&body.to_string())));
        }
        None => {}
    }
    words.extend(call.files.iter().map(|(name, file)| format!("-F {}", quote(&format!("{name}=@{file}")))));
    let query: Vec<_> = call.query.iter().map(|(name, value)| format!("{name}={}", text(value))).collect();
    let query = if query.is_empty() { String::new() } else { format!("?{}", query.join("&")) };
    words.push(quote(&format!("{ADDRESS}{path}{query}")));
    words.join(" ")
}

fn is_form(operation: &Operation) -> bool {
    matches!(&operation.request_body, Some(RefOr::T(body)) if body.content.contains_key(MULTIPART))
}

/// The content of a string, or the JSON of any other value.
fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// Quotes a word for the shell, if necessary.
fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@".contains(c);
    match word.chars().all(plain) {
        true => word.to_owned(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_example_belongs_to_an_operation() {
        let mut document = crate::openapi();
        let examples: Value = serde_json::from_str(include_str!("examples.json")).expect("JSON");
        let ids: Vec<String> = document
            .paths
            .paths
            .values_mut()
            .flat_map(operations)
            .filter_map(|(_, operation)| operation.operation_id.clone())
            .collect();
        for id in examples["operations"].as_object().expect("operations").keys() {
            assert!(ids.contains(id), "there is no operation {id}");
        }
    }

    #[test]
    fn words_are_safe_in_a_shell() {
        let cases = [
            ("a=@b/c.wasm", "a=@b/c.wasm"),
            ("a b", "'a b'"),
            ("it's", r"'it'\''s'"),
            ("x?y=1&z", "'x?y=1&z'"),
        ];
        for (word, expected) in cases {
            assert_eq!(quote(word), expected);
        }
    }
}
