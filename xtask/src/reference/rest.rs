//! The REST API, from its OpenAPI document.

use anyhow::Context as _;
use serde_json::{Map, Value};

use super::markdown::{Page, code, line};
use super::schema::Schemas;

/// Responses that are the same everywhere, listed once.
const COMMON: &str = "#/components/responses/";

/// The methods, in the order in which a path has them.
const METHODS: [&str; 5] = ["get", "post", "put", "patch", "delete"];

/// The page.
pub(super) fn page() -> anyhow::Result<String> {
    render(&serde_json::to_value(gateway_svc::openapi())?)
}

fn render(document: &Value) -> anyhow::Result<String> {
    let mut page = Page::new("REST API", "the OpenAPI document of the gateway");
    page.push(
        "The gateway serves this API on port 4000. A running gateway has the same document in OpenAPI's format at \
         `/v1/openapi.json`, and at `/docs` a page that can send requests.",
    );
    page.push(text(&document["info"]["description"]));
    page.push(
        "Names of types are links to [their fields](#types). Fields that are not *required* may be absent.",
    );
    let schemas = Schemas::new(document);
    for tag in document["tags"].as_array().context("tags")? {
        let name = text(&tag["name"]);
        let mut title = name.to_owned();
        title[..1].make_ascii_uppercase();
        page.heading(2, &title);
        page.push(text(&tag["description"]));
        for (path, methods) in object(&document["paths"])? {
            for method in METHODS {
                let operation = &methods[method];
                if operation["tags"][0] == *name {
                    write_operation(&mut page, &schemas, path, method, operation)?;
                }
            }
        }
    }
    write_common_responses(&mut page, document)?;
    write_types(&mut page, &schemas)?;
    Ok(page.into_text())
}

fn write_operation(
    page: &mut Page,
    schemas: &Schemas<'_>,
    path: &str,
    method: &str,
    operation: &Value,
) -> anyhow::Result<()> {
    page.heading(3, &code(&format!("{} {path}", method.to_uppercase())));
    page.push(text(&operation["summary"]));
    let (description, example) = split_example(text(&operation["description"]));
    page.push(description);
    let parameters = operation["parameters"].as_array().map(Vec::as_slice).unwrap_or_default();
    let rows: Vec<_> = parameters
        .iter()
        .map(|parameter| {
            let required = if parameter["required"] == true { ", required" } else { "" };
            [
                code(text(&parameter["name"])),
                format!("{}{required}", text(&parameter["in"])),
                schemas.type_of(&parameter["schema"]),
                line(text(&parameter["description"])),
            ]
        })
        .collect();
    page.table(["parameter", "in", "type", "meaning"], &rows);
    for (kind, content) in operation["requestBody"]["content"].as_object().into_iter().flatten() {
        page.push(&format!("The body is {}, {}.", schemas.type_of(&content["schema"]), code(kind)));
    }
    if let Some(example) = example {
        page.code("sh", example);
    }
    write_responses(page, schemas, object(&operation["responses"])?);
    Ok(())
}

fn write_responses(page: &mut Page, schemas: &Schemas<'_>, responses: &Map<String, Value>) {
    let own = responses.iter().filter(|(_, response)| !text(&response["$ref"]).starts_with(COMMON));
    let rows: Vec<_> = own
        .map(|(status, response)| {
            let body = response["content"].as_object().and_then(|content| content.values().next());
            let body = body.map(|content| schemas.type_of(&content["schema"])).unwrap_or_default();
            [status.clone(), line(text(&response["description"])), body]
        })
        .collect();
    page.table(["status", "meaning", "body"], &rows);
    let contents = responses.values().filter_map(|response| response["content"].as_object());
    let examples = contents.flat_map(Map::values).map(|content| &content["example"]);
    if let Some(example) = examples.into_iter().find(|example| !example.is_null()) {
        page.code("json", &format!("{example:#}"));
    }
}

fn write_common_responses(page: &mut Page, document: &Value) -> anyhow::Result<()> {
    page.heading(2, "Responses of every route");
    page.push(
        "Every route that takes a token may respond with these, too. [Errors](../errors.md) says what to do about \
         each reason.",
    );
    let mut statuses = std::collections::BTreeMap::new();
    for response in object(&document["paths"])?.values().filter_map(Value::as_object).flat_map(Map::values) {
        for (status, response) in object(&response["responses"])? {
            if let Some(name) = text(&response["$ref"]).strip_prefix(COMMON) {
                statuses.insert(status, name);
            }
        }
    }
    let common = &document["components"]["responses"];
    let rows: Vec<_> = statuses
        .into_iter()
        .map(|(status, name)| [status.clone(), line(text(&common[name]["description"]))])
        .collect();
    page.table(["status", "meaning"], &rows);
    Ok(())
}

fn write_types(page: &mut Page, schemas: &Schemas<'_>) -> anyhow::Result<()> {
    page.heading(2, "Types");
    for (name, schema) in schemas.named()? {
        page.heading(3, &code(name));
        page.push(text(&schema["description"]));
        let fields = schemas.fields(schema);
        if fields.is_empty() {
            let alias = schemas.type_of(schema);
            page.push(&format!("Is {alias}."));
        }
        page.table(["field", "type", "meaning"], &fields);
    }
    Ok(())
}

/// The description without the command at its end, and the command.
fn split_example(description: &str) -> (&str, Option<&str>) {
    let Some((before, block)) = description.split_once("```sh\n") else { return (description, None) };
    (before, block.split("\n```").next())
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn object(value: &Value) -> anyhow::Result<&Map<String, Value>> {
    value.as_object().with_context(|| format!("expected an object, not {value}"))
}
