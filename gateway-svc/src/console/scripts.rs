//! APP scripts: an editor that checks while somebody types, and explanations.

use axum::extract::{Path, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderValue, Method};
use maud::{Markup, html};
use mesh::auth::Secret;
use serde::Deserialize;
use serde_json::json;

use super::api::succeeded;
use super::explanation;
use super::failure::Failure;
use super::layout::{done, failed};
use super::model::{Explanation, Findings, Problem, Script};
use super::page::{Section, csrf, page};
use super::parts::{counted, escaped};
use super::visitor::{Posted, Visitor};

/// The text of a new script.
const FIRST_TEXT: &str = "- default:\n  - workers: \"*\"\n    strategy: best-first\n    invalidate:\n      max_concurrent_invocations: 8\n";

fn path(name: &str) -> String {
    format!("/console/scripts/{}", escaped(name))
}

fn rest_path(name: &str) -> String {
    format!("/v1/scripts/app/{}", escaped(name))
}

/// `GET /console/scripts`
pub(super) async fn list(visitor: Visitor) -> Result<Markup, Failure> {
    let scripts: Vec<Script> = visitor.api.get("/v1/scripts/app").await?;
    let content = html! {
        div.inline {
            a.button href="/console/scripts/new" { "New script" }
            a.button href="/console/simulator" { "Simulator" }
        }
        section.panel {
            @if scripts.is_empty() {
                p.quiet { "No scripts. Without one, the default policy chooses the worker with the most memory available." }
            } @else {
                table {
                    thead { tr { th scope="col" { "Script" } th scope="col" { "Owner" } th.number scope="col" { "Lines" } } }
                    tbody {
                        @for script in &scripts {
                            tr {
                                th scope="row" { a href=(path(&script.name)) { (script.name) } }
                                td { @match &script.owner { Some(owner) => (owner), None => span.quiet { "shared" } } }
                                td.number { (script.content.lines().count()) }
                            }
                        }
                    }
                }
            }
        }
    };
    Ok(page(&visitor, Section::Scripts, "Scripts", &content))
}

/// What the editor shows.
struct Editor<'a> {
    name: &'a str,
    content: &'a str,
    findings: Option<&'a Findings>,
    problem: Option<&'a str>,
}

fn editor(visitor: &Visitor, shown: &Editor<'_>) -> Markup {
    html! {
        @if let Some(problem) = shown.problem { (failed(problem)) }
        div.columns {
            form.stack.panel method="post" action="/console/scripts" {
                (csrf(visitor))
                label { "Name" input name="name" required value=(shown.name) autocomplete="off" spellcheck="false"; }
                label {
                    "Text"
                    textarea name="content" rows="18" spellcheck="false" autocomplete="off"
                        hx-post="/console/scripts/check" hx-trigger="input changed delay:300ms" hx-include="closest form"
                        hx-select="#findings" hx-target="#findings" hx-swap="outerHTML" { (shown.content) }
                }
                div.inline {
                    button type="submit" { "Save" }
                    button.plain type="submit" formaction="/console/scripts/check" formnovalidate { "Check" }
                }
                p.quiet { "A stored script does not change: save a changed text under a new name, or delete the old one first." }
            }
            section.panel aria-labelledby="check" {
                h2 id="check" { "Check" }
                (findings(shown.content, shown.findings))
            }
        }
    }
}

/// The problems of a text, each with its line.
fn findings(content: &str, found: Option<&Findings>) -> Markup {
    html! {
        div id="findings" aria-live="polite" {
            @match found {
                None => p.quiet { "Problems appear here while you type." },
                Some(Findings { errors, warnings }) if errors.is_empty() && warnings.is_empty() => (done("No problems.")),
                Some(Findings { errors, warnings }) => {
                    @if errors.is_empty() {
                        p.message.warn { "Valid, with " (counted(warnings.len() as u64, "warning")) "." }
                    } @else {
                        p.message.bad { (counted(errors.len() as u64, "error")) "." }
                    }
                    ul.problem-list {
                        @for problem in errors { li.error { (located(content, problem)) } }
                        @for problem in warnings { li.warning { (located(content, problem)) } }
                    }
                },
            }
        }
    }
}

/// A problem with its line of the text, marked from its column on.
fn located(content: &str, problem: &Problem) -> Markup {
    let line = (problem.line as usize).checked_sub(1).and_then(|line| content.lines().nth(line));
    let split = |line: &str| {
        let column = (problem.column as usize).saturating_sub(1);
        line.char_indices().nth(column).map_or(line.len(), |(place, _)| place)
    };
    html! {
        (problem.message)
        @if let Some(line) = line {
            @let (before, marked) = line.split_at(split(line));
            code { span.quiet { (problem.line) " " } (before) mark { (if marked.is_empty() { " " } else { marked }) } }
        }
    }
}

/// `GET /console/scripts/new`
pub(super) async fn new(visitor: Visitor) -> Markup {
    let shown = Editor { name: "", content: FIRST_TEXT, findings: None, problem: None };
    page(&visitor, Section::Scripts, "New script", &editor(&visitor, &shown))
}

#[derive(Deserialize)]
pub(super) struct ScriptForm {
    #[serde(default)]
    name: String,
    content: String,
}

/// Browsers end lines of forms with CR LF.
fn unix(text: &str) -> String {
    text.replace("\r\n", "\n")
}

async fn check_text(visitor: &Visitor, content: &str) -> Result<Findings, Failure> {
    visitor.api.post("/v1/app/lint", &json!({"content": content})).await
}

/// `POST /console/scripts/check`
pub(super) async fn check(Posted { visitor, form }: Posted<ScriptForm>) -> Result<Markup, Failure> {
    let content = unix(&form.content);
    let found = check_text(&visitor, &content).await?;
    let shown = Editor { name: &form.name, content: &content, findings: Some(&found), problem: None };
    Ok(page(&visitor, Section::Scripts, "Script", &editor(&visitor, &shown)))
}

/// `POST /console/scripts`
pub(super) async fn create(Posted { visitor, form }: Posted<ScriptForm>) -> Result<Response, Failure> {
    let content = unix(&form.content);
    match store(&visitor, &form.name, &content).await {
        Ok(_) => Ok(Redirect::to(&path(&form.name)).into_response()),
        Err(failure) => {
            let found = check_text(&visitor, &content).await.unwrap_or_default();
            let shown = Editor {
                name: &form.name,
                content: &content,
                findings: Some(&found),
                problem: Some(&failure.message),
            };
            let shown = page(&visitor, Section::Scripts, "Script", &editor(&visitor, &shown));
            Ok((failure.status, shown).into_response())
        }
    }
}

/// Stores a script as the REST API takes it: a form with the parts `name` and `file`.
async fn store(visitor: &Visitor, name: &str, content: &str) -> Result<Bytes, Failure> {
    // The boundary is random, so that no text contains it.
    let boundary = Secret::random().expose().to_owned();
    let body = format!(
        "--{boundary}\r\ncontent-disposition: form-data; name=\"name\"\r\n\r\n{name}\r\n\
         --{boundary}\r\ncontent-disposition: form-data; name=\"file\"; filename=\"script.yml\"\r\n\r\n{content}\r\n\
         --{boundary}--\r\n"
    );
    let content_type = HeaderValue::try_from(format!("multipart/form-data; boundary={boundary}"));
    let content_type = content_type.map_err(Failure::internal)?;
    let headers = HeaderMap::from_iter([(CONTENT_TYPE, content_type)]);
    succeeded(visitor.api.send(Method::POST, "/v1/scripts/app", headers, body.into()).await).await
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct ExplainQuery {
    /// The function to explain, as `MODULE/FUNCTION`.
    #[serde(default)]
    function: String,
}

/// `GET /console/scripts/{script}`
pub(super) async fn show(
    visitor: Visitor,
    Path(name): Path<String>,
    Query(ExplainQuery { function }): Query<ExplainQuery>,
) -> Result<Markup, Failure> {
    let explanation = async {
        if function.trim().is_empty() {
            return None;
        }
        let path = format!("{}/explain?function={}", rest_path(&name), escaped(function.trim()));
        Some(visitor.api.get::<Explanation>(&path).await)
    };
    let own = rest_path(&name);
    let (script, explanation) = tokio::join!(visitor.api.get::<Script>(&own), explanation);
    let script = script?;
    let found = check_text(&visitor, &script.content).await.ok();
    let shown =
        Editor { name: &script.name, content: &script.content, findings: found.as_ref(), problem: None };
    let content = html! {
        (editor(&visitor, &shown))
        section.panel {
            h2 { "Explain" }
            form.inline action=(path(&name)) {
                label { "Function, as module/function" input name="function" required value=(function) placeholder="_/hello" autocomplete="off"; }
                button type="submit" { "Explain" }
                a.button href={ "/console/simulator?script=" (escaped(&name)) } { "Simulate" }
            }
            p.quiet { "Where the script would place an invocation of this function now." }
        }
        @match &explanation {
            Some(Ok(explanation)) => (explanation::panel(explanation)),
            Some(Err(failure)) => (failed(&failure.message)),
            None => {},
        }
        (deletion(&visitor, &script))
    };
    Ok(page(&visitor, Section::Scripts, &format!("Script {name}"), &content))
}

fn deletion(visitor: &Visitor, script: &Script) -> Markup {
    html! {
        section.panel {
            h2 { "Delete" }
            form.inline method="post" action={ (path(&script.name)) "/delete" } {
                (csrf(visitor))
                label { span { "To delete the script, type its name: " code { (script.name) } } input name="name" required autocomplete="off" spellcheck="false"; }
                button.danger type="submit" { "Delete the script" }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct DeleteForm {
    name: String,
}

/// `POST /console/scripts/{script}/delete`
pub(super) async fn delete(
    Path(name): Path<String>,
    Posted { visitor, form }: Posted<DeleteForm>,
) -> Result<Response, Failure> {
    let problem = match form.name == name {
        true => visitor.api.delete(&rest_path(&name)).await.err().map(|failure| failure.message),
        false => {
            Some(format!("The script was not deleted: expected its name {name:?}, not {:?}.", form.name))
        }
    };
    let Some(problem) = problem else { return Ok(Redirect::to(Section::Scripts.path()).into_response()) };
    let content = html! { (failed(&problem)) p { a href=(path(&name)) { "Back to the script" } } };
    Ok(page(&visitor, Section::Scripts, "Not deleted", &content).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn problems_are_marked_where_they_are() {
        let problem = |line, column| Problem { message: "<why>".into(), line, column };
        let shown = |line, column| located("- a:\n  <b> é: x", &problem(line, column)).into_string();
        let first = "&lt;why&gt;<code><span class=\"quiet\">2 </span>  &lt;b&gt; <mark>é: x</mark></code>";
        assert_eq!(shown(2, 7), first);
        assert!(shown(1, 99).ends_with("- a:<mark> </mark></code>"), "{}", shown(1, 99));
        for (line, column) in [(0, 0), (3, 1)] {
            assert_eq!(shown(line, column), "&lt;why&gt;", "without a line");
        }
    }
}
