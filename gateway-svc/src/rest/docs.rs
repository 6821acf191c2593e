//! Pages for everyone: health, the OpenAPI document, and a page to read it on.

use std::fmt::Write as _;

use axum::response::Html;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::Value;
use utoipa::openapi::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa::{Modify, OpenApi as DeriveOpenApi};

use super::Rest;

/// What the document says beside the routes.
#[derive(DeriveOpenApi)]
#[openapi(
    info(
        title = "FunLess Mesh",
        description = "Functions compiled to WebAssembly, invoked with JSON. Errors are \
            `{\"errors\":{\"detail\":\"...\"}}`, and `{\"errors\":{\"FIELD\":[\"message\", ...]}}` for refused \
            fields. `X-Request-Id` is echoed, or made. Replies to writes carry `X-FunLess-Revision`.",
    ),
    modifiers(&BearerToken),
    security(("token" = [])),
    tags(
        (name = "health", description = "For everyone, without a token."),
        (name = "modules", description = "Groups of functions. The module `_` is always there."),
        (name = "functions", description = "Functions, and running them."),
        (name = "events and sinks", description = "What triggers functions, and what receives their results."),
        (name = "dead letters", description = "What could not be done, and is kept until somebody decides."),
        (name = "scripts", description = "APP scripts: where functions may run."),
        (name = "scheduling", description = "Where functions run, and why."),
        (name = "subjects", description = "Who may use the mesh. Takes an administrator's token."),
    ),
)]
pub(super) struct ApiDoc;

struct BearerToken;

impl Modify for BearerToken {
    fn modify(&self, document: &mut OpenApi) {
        let components = document.components.get_or_insert_default();
        let mut scheme = Http::new(HttpAuthScheme::Bearer);
        scheme.description = Some("A subject's token, or an administrator's.".into());
        components.add_security_scheme("token", SecurityScheme::Http(scheme));
    }
}

/// Tells that the platform is there.
#[utoipa::path(get, path = "/v1/", tag = "health", security(()),
    responses((status = 200, description = "Up and running.", body = String)))]
pub(super) async fn health() -> &'static str {
    "FunLess Mesh is up and running.\n"
}

/// The pages for those who read the documentation.
pub(super) fn pages(document: &OpenApi) -> Router<Rest> {
    let value = serde_json::to_value(document).unwrap_or_default();
    let page = Html(render(&value));
    Router::new()
        .route("/v1/openapi.json", get(async move || Json(value)))
        .route("/docs", get(async move || page))
}

const STYLE: &str = "body{font:16px/1.5 system-ui,sans-serif;max-width:52rem;margin:2rem auto;padding:0 1rem;\
color:#222;background:#fff}code,pre{font:14px/1.5 ui-monospace,monospace}details{border:1px solid #ddd;\
border-radius:6px;margin:.4rem 0;padding:.4rem .8rem}summary{cursor:pointer}pre{background:#f6f6f6;\
padding:.6rem;overflow-x:auto}table{border-collapse:collapse}td{padding:.15rem 1rem .15rem 0;\
vertical-align:top}b.method{display:inline-block;width:4.5rem}\
@media(prefers-color-scheme:dark){body{color:#ddd;background:#181818}pre{background:#242424}\
details{border-color:#444}a{color:#8bf}}";

/// The document as a page that needs nothing from elsewhere.
fn render(document: &Value) -> String {
    let mut page = String::from("<!doctype html><html lang=en><meta charset=utf-8>");
    let info = &document["info"];
    let _ = write!(
        page,
        "<meta name=viewport content='width=device-width'><title>{title}</title><style>{STYLE}</style>\
        <h1>{title}</h1><p>{description}</p><p>Every route but the health page needs the header \
        <code>Authorization: Bearer TOKEN</code>. For programs: <a href=/v1/openapi.json>openapi.json</a>.</p>",
        title = text(&info["title"]),
        description = text(&info["description"]),
    );
    for tag in list(&document["tags"]) {
        let _ = write!(page, "<h2>{}</h2><p>{}</p>", text(&tag["name"]), text(&tag["description"]));
        for (path, methods) in entries(&document["paths"]) {
            for (method, operation) in entries(methods) {
                if list(&operation["tags"]).contains(&tag["name"]) {
                    render_operation(&mut page, path, method, operation);
                }
            }
        }
    }
    page.push_str("<h2>bodies</h2>");
    for (name, schema) in entries(&document["components"]["schemas"]) {
        let _ = write!(page, "<details id='{0}'><summary><code>{0}</code></summary>", escape(name));
        let _ = write!(page, "<pre>{}</pre></details>", escape(&format!("{schema:#}")));
    }
    page
}

fn render_operation(page: &mut String, path: &str, method: &str, operation: &Value) {
    let _ = write!(
        page,
        "<details><summary><code><b class=method>{}</b> {}</code> {}</summary><p>{}</p><table>",
        escape(&method.to_uppercase()),
        escape(path),
        text(&operation["summary"]),
        text(&operation["description"]),
    );
    for parameter in list(&operation["parameters"]) {
        let (name, description) = (text(&parameter["name"]), text(&parameter["description"]));
        let _ = write!(page, "<tr><td><code>{name}</code><td>{description}");
    }
    for (media_type, content) in entries(&operation["requestBody"]["content"]) {
        let _ = write!(page, "<tr><td>body<td>{}: {}", escape(media_type), schema_link(content));
    }
    for (status, response) in entries(&operation["responses"]) {
        let _ = write!(page, "<tr><td><code>{}</code><td>{}", escape(status), text(&response["description"]));
        for (_, content) in entries(&response["content"]) {
            let _ = write!(page, " {}", schema_link(content));
        }
    }
    page.push_str("</table></details>");
}

/// A link to the schema of a body, where it has a name.
fn schema_link(content: &Value) -> String {
    let schema = &content["schema"];
    let named = std::iter::once(schema).chain(list(&schema["oneOf"]));
    let mut names = named.filter_map(|schema| schema["$ref"].as_str()?.rsplit('/').next());
    names.next().map_or_else(String::new, |name| format!("<a href='#{0}'>{0}</a>", escape(name)))
}

fn entries(object: &Value) -> impl Iterator<Item = (&String, &Value)> {
    object.as_object().into_iter().flatten()
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    escape(value.as_str().unwrap_or_default())
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\'', "&#39;")
}
