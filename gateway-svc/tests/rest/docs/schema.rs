//! The subset of JSON Schema that the document uses. Unlike in JSON Schema, members without a schema are
//! errors: they are undocumented.

use serde_json::Value;

/// Checks `value` against `schema`. The error names the first problem.
pub fn check(document: &Value, schema: &Value, value: &Value) -> Result<(), String> {
    let schema = resolve(document, schema);
    if let Some(choices) = schema.get("oneOf").or_else(|| schema.get("anyOf")).and_then(Value::as_array) {
        let outcomes: Vec<_> = choices.iter().map(|choice| check(document, choice, value)).collect();
        let wrong = || format!("{value} matches none of the schemas: {outcomes:?}");
        return if outcomes.iter().any(Result::is_ok) { Ok(()) } else { Err(wrong()) };
    }
    if let Some(allowed) = schema.get("enum").and_then(Value::as_array)
        && !allowed.contains(value)
    {
        return Err(format!("{value} is not one of {allowed:?}"));
    }
    check_type(schema, value)?;
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match property(document, schema, name) {
                    Some(schema) => {
                        check(document, &schema, member).map_err(|wrong| format!("{name}: {wrong}"))?
                    }
                    None => return Err(format!("{name} is undocumented")),
                }
            }
            let missing = required(document, schema).into_iter().find(|name| !members.contains_key(name));
            missing.map_or(Ok(()), |name| Err(format!("{name} is missing")))
        }
        Value::Array(entries) => match schema.get("items") {
            Some(items) => entries.iter().try_for_each(|entry| check(document, items, entry)),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

fn resolve<'v>(document: &'v Value, schema: &'v Value) -> &'v Value {
    let reference = schema.get("$ref").and_then(Value::as_str).and_then(|path| path.strip_prefix('#'));
    reference.map_or(schema, |path| document.pointer(path).unwrap_or_else(|| panic!("no schema {path}")))
}

fn check_type(schema: &Value, value: &Value) -> Result<(), String> {
    let types = match schema.get("type") {
        Some(Value::String(one)) => vec![one.as_str()],
        Some(Value::Array(several)) => several.iter().filter_map(Value::as_str).collect(),
        _ => return Ok(()),
    };
    let fits = |name: &&str| match *name {
        "object" => value.is_object(),
        "array" => value.is_array(),
        "string" => value.is_string(),
        "integer" => value.is_i64() || value.is_u64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "null" => value.is_null(),
        other => panic!("unknown type {other}"),
    };
    if types.iter().any(fits) { Ok(()) } else { Err(format!("{value} is not of type {types:?}")) }
}

/// The parts of an object's schema: itself, and those in `allOf`.
fn parts<'v>(document: &'v Value, schema: &'v Value) -> Vec<&'v Value> {
    let more = schema.get("allOf").and_then(Value::as_array).into_iter().flatten();
    std::iter::once(schema).chain(more.flat_map(|part| parts(document, resolve(document, part)))).collect()
}

/// The schema of a member. If the object has no properties, any member is allowed.
fn property(document: &Value, schema: &Value, name: &str) -> Option<Value> {
    let parts = parts(document, schema);
    if let Some(property) = parts.iter().find_map(|part| part.get("properties")?.get(name)) {
        return Some(property.clone());
    }
    let described = parts.iter().any(|part| part.get("properties").is_some());
    let more = parts
        .iter()
        .find_map(|part| part.get("additionalProperties"))
        .filter(|more| **more != Value::Bool(false));
    more.cloned().or((!described).then_some(Value::Bool(true)))
}

fn required(document: &Value, schema: &Value) -> Vec<String> {
    let lists =
        parts(document, schema).into_iter().filter_map(|part| part.get("required")?.as_array().cloned());
    lists.flatten().filter_map(|name| name.as_str().map(str::to_owned)).collect()
}
