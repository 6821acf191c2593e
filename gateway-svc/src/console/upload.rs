//! Create and update functions: uploads are passed on to the REST API as they arrive.

use axum::body::Body;
use axum::extract::{FromRequestParts as _, Path, Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Method};
use http_body_util::BodyExt as _;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::json;

use super::Console;
use super::api::succeeded;
use super::failure::Failure;
use super::functions::path;
use super::layout::{done, failed};
use super::page::{Section, csrf, page};
use super::parts::escaped;
use super::visitor::{CSRF, Posted, Visitor, forged, refuse_other_sites};

/// The secret of the session is the first field of an upload, within these bytes.
const MAX_HEAD_BYTES: usize = 2048;

/// What the REST API says about a function that was written.
#[derive(Deserialize)]
struct Written {
    data: WrittenFunction,
}

#[derive(Deserialize)]
struct WrittenFunction {
    name: String,
    #[serde(default)]
    events: Vec<Tried>,
    #[serde(default)]
    sinks: Vec<Tried>,
}

#[derive(Deserialize)]
struct Tried {
    message: Option<String>,
}

/// `GET /console/modules/{module}/new`
pub(super) async fn new(visitor: Visitor, Path(module): Path<String>) -> Markup {
    form(&visitor, &module, None)
}

fn form(visitor: &Visitor, module: &str, problem: Option<&str>) -> Markup {
    let bindings = r#"[{"type": "mqtt", "params": {"host": "127.0.0.1", "topic": "names"}}]"#;
    let content = html! {
        @if let Some(problem) = problem { (failed(problem)) }
        form.stack.panel method="post" action={ "/console/modules/" (escaped(module)) "/functions" } enctype="multipart/form-data" {
            (csrf(visitor))
            label { "Name" input name="name" required maxlength="160" pattern="[_a-zA-Z0-9]+" autocomplete="off" title="Letters, digits and underscores"; }
            label.drop { "Code, a .wasm file" input type="file" name="code" accept=".wasm,application/wasm" required; }
            details {
                summary { "Metadata, events and sinks" }
                label { "Metadata, JSON" textarea name="metadata" rows="2" spellcheck="false" placeholder=r#"{"tag": "edge", "capacity": 64, "script": "busy"}"# {} }
                label { "Events, JSON" textarea name="events" rows="3" spellcheck="false" placeholder=(bindings) {} }
                label { "Sinks, JSON" textarea name="sinks" rows="3" spellcheck="false" placeholder=r#"[{"type": "couchdb", "params": {"url": "http://127.0.0.1:5984/greetings"}}]"# {} }
            }
            button type="submit" { "Create" }
        }
    };
    page(visitor, Section::Functions, &format!("New function in {module}"), &content)
}

/// `POST /console/modules/{module}/functions`
pub(super) async fn create(
    State(console): State<Console>,
    Path(module): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let to = format!("/v1/fn/{}", escaped(&module));
    let (visitor, answer) = forward(&console, request, Method::POST, &to).await?;
    match answer {
        Ok(body) => Ok(written(&visitor, &module, &body)),
        Err(failure) => Ok((failure.status, form(&visitor, &module, Some(&failure.message))).into_response()),
    }
}

/// `POST /console/functions/{module}/{function}/code`
pub(super) async fn update(
    State(console): State<Console>,
    Path((module, name)): Path<(String, String)>,
    request: Request,
) -> Result<Response, Failure> {
    let to = format!("/v1/fn/{}/{}", escaped(&module), escaped(&name));
    let (visitor, answer) = forward(&console, request, Method::PUT, &to).await?;
    match answer {
        Ok(body) => Ok(written(&visitor, &module, &body)),
        Err(failure) => {
            let content = html! {
                (failed(&failure.message))
                p { a href=(path(&module, &name)) { "Back to the function" } }
            };
            let shown = page(&visitor, Section::Functions, "Not updated", &content);
            Ok((failure.status, shown).into_response())
        }
    }
}

/// The function's page, or first what is wrong with its events and sinks.
fn written(visitor: &Visitor, module: &str, body: &[u8]) -> Response {
    let Ok(Written { data }) = serde_json::from_slice::<Written>(body) else {
        return Redirect::to(Section::Functions.path()).into_response();
    };
    let own = path(module, &data.name);
    let problems = data.events.into_iter().chain(data.sinks).filter_map(|tried| tried.message);
    let problems: Vec<_> = problems.collect();
    if problems.is_empty() {
        return Redirect::to(&own).into_response();
    }
    let content = html! {
        (done("The function is stored."))
        @for problem in &problems { (failed(problem)) }
        p { a href=(own) { "To the function" } }
    };
    page(visitor, Section::Functions, "Not all events and sinks are connected", &content).into_response()
}

/// Passes an upload on, once its first field has shown that a page of the session sent it.
async fn forward(
    console: &Console,
    request: Request,
    method: Method,
    to: &str,
) -> Result<(Visitor, Result<Bytes, Failure>), Failure> {
    let (mut parts, mut body) = request.into_parts();
    refuse_other_sites(&parts.headers)?;
    let visitor = Visitor::from_request_parts(&mut parts, console).await?;
    let field = format!("name=\"{CSRF}\"\r\n\r\n{}\r\n", visitor.csrf.expose());
    let mut head = BytesMut::new();
    while !contains(&head, field.as_bytes()) {
        let frame = if head.len() < MAX_HEAD_BYTES { body.frame().await } else { None };
        let Some(Ok(frame)) = frame else { return Err(forged()) };
        head.extend_from_slice(&frame.into_data().unwrap_or_default());
    }
    let headers: HeaderMap =
        parts.headers.get(CONTENT_TYPE).map(|value| (CONTENT_TYPE, value.clone())).into_iter().collect();
    let head = stream::once(async { Ok(head.freeze()) });
    let whole = Body::from_stream(head.chain(body.into_data_stream()));
    let answer = succeeded(visitor.api.send(method, to, headers, whole).await).await;
    Ok((visitor, answer))
}

fn contains(text: &[u8], part: &[u8]) -> bool {
    let head = &text[..text.len().min(MAX_HEAD_BYTES)];
    head.windows(part.len()).any(|window| window == part)
}

#[derive(Deserialize)]
pub(super) struct ModuleForm {
    name: String,
}

/// `POST /console/modules`
pub(super) async fn create_module(Posted { visitor, form }: Posted<ModuleForm>) -> Result<Redirect, Failure> {
    visitor.api.post::<serde_json::Value>("/v1/fn", &json!({"module": {"name": form.name}})).await?;
    Ok(Redirect::to(Section::Functions.path()))
}
