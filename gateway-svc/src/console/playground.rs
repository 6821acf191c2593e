//! The playground: invokes a function and shows the result, its log lines and the receipt.

use axum::response::Response;
use http::StatusCode;
use maud::{Markup, html};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::api::{Api, succeeded};
use super::functions::path;
use super::layout::failed;
use super::logs;
use super::model::{Function, Invocation, Line, RecentInvocations, Script};
use super::page::csrf;
use super::parts::{escaped, indented, outcome, text};
use super::visitor::Visitor;
use super::waterfall::waterfall;

/// The arguments before the first invocation.
const FIRST_ARGS: &str = r#"{"name": "you"}"#;
/// What the form says for the policies that are no scripts.
const OWN: &str = "";
const DEFAULT_POLICY: &str = "/default";

/// An invocation in the playground, or none.
pub(super) struct Played {
    args: String,
    policy: String,
    ended: Option<Ended>,
}

struct Ended {
    /// The result, JSON; or what was wrong.
    outcome: Result<String, String>,
    /// Absent: nothing ran.
    invocation: Option<Invocation>,
    lines: Vec<Line>,
}

#[derive(Deserialize)]
pub(super) struct InvokeForm {
    args: String,
    #[serde(default)]
    policy: String,
}

#[derive(Deserialize)]
struct ResultBody {
    data: Box<RawValue>,
}

impl Played {
    pub(super) fn nothing() -> Self {
        Self { args: FIRST_ARGS.to_owned(), policy: OWN.to_owned(), ended: None }
    }
}

/// Runs the function as the form says.
pub(super) async fn play(api: &Api, module: &str, name: &str, form: InvokeForm) -> Played {
    let InvokeForm { args, policy } = form;
    let ended = run(api, module, name, &args, &policy).await;
    Played { args, policy, ended: Some(ended) }
}

async fn run(api: &Api, module: &str, name: &str, args: &str, policy: &str) -> Ended {
    let body = match body(args, policy) {
        Ok(body) => body,
        Err(problem) => return Ended { outcome: Err(problem), invocation: None, lines: Vec::new() },
    };
    let response = api.post_json(&format!("/v1/fn/{}/{}", escaped(module), escaped(name)), body).await;
    let id = invocation_of(&response);
    let outcome = match succeeded(response).await {
        Ok(body) => match serde_json::from_slice::<ResultBody>(&body) {
            Ok(ResultBody { data }) => Ok(data.get().to_owned()),
            Err(_) => Ok(String::from_utf8_lossy(&body).into_owned()),
        },
        Err(failure) => Err(failure.message),
    };
    let Some(id) = id else { return Ended { outcome, invocation: None, lines: Vec::new() } };
    let recent = format!("/v1/invocations?id={}", escaped(&id));
    let (recent, log) =
        tokio::join!(api.get::<RecentInvocations>(&recent), logs::read(api, module, name, ""));
    let invocation = recent.ok().and_then(|recent| recent.invocations.into_iter().next());
    let lines = log.map(|log| log.lines).unwrap_or_default();
    let lines = lines.into_iter().filter(|line| line.invocation == id).collect();
    Ended { outcome, invocation, lines }
}

/// The body of the request. The arguments are sent as they are.
fn body(args: &str, policy: &str) -> Result<String, String> {
    let args = if args.trim().is_empty() { "{}" } else { args };
    let args: &RawValue =
        serde_json::from_str(args).map_err(|error| format!("The arguments are not JSON: {error}."))?;
    let scheduling = match policy {
        OWN => Value::Null,
        DEFAULT_POLICY => json!({"language": "none"}),
        script => json!({"language": "app", "script": script}),
    };
    Ok(format!(r#"{{"args":{},"scheduling":{scheduling}}}"#, args.get()))
}

fn invocation_of(response: &Response) -> Option<String> {
    // A request that was refused has none.
    let is_over = response.status() != StatusCode::BAD_REQUEST;
    let id = response.headers().get("x-funless-invocation")?.to_str().ok()?;
    is_over.then(|| id.to_owned())
}

/// The form. Its last inputs are kept by the browser.
pub(super) fn form(visitor: &Visitor, function: &Function, scripts: &[Script], played: &Played) -> Markup {
    let own = path(&function.module, &function.name);
    let option = |value: &str, words: &str| {
        html! { option value=(value) selected[played.policy == value] { (words) } }
    };
    html! {
        form.stack method="post" action={ (own) "/invoke" } data-inputs={ (function.module) "/" (function.name) }
            hx-post={ (own) "/invoke" } hx-select="#result" hx-target="#result" hx-swap="outerHTML"
            hx-select-oob="#recent" hx-disabled-elt="find button" {
            (csrf(visitor))
            label {
                "Arguments, JSON"
                textarea name="args" rows="6" spellcheck="false" autocomplete="off" { (played.args) }
            }
            div.inline {
                label {
                    "Policy"
                    select name="policy" {
                        (option(OWN, "of the function"))
                        (option(DEFAULT_POLICY, "default policy"))
                        @for script in scripts { (option(&script.name, &format!("script {}", script.name))) }
                    }
                }
                button type="submit" { "Invoke" }
            }
        }
    }
}

/// The outcome, which replaces the one before.
pub(super) fn result(played: &Played) -> Markup {
    html! {
        div id="result" aria-live="polite" {
            @if let Some(Ended { outcome: ended, invocation, lines }) = &played.ended {
                h3 {
                    "Result "
                    @if let Some(one) = invocation { (outcome(&one.outcome, one.reason.as_deref())) }
                }
                @match ended {
                    Ok(result) => (text(&indented(result))),
                    Err(problem) => (failed(problem)),
                }
                @if !lines.is_empty() {
                    h3 { "Log" }
                    ol.log { @for line in lines { (logs::line(line, false)) } }
                }
                @if let Some(one) = invocation {
                    h3 { "Receipt" }
                    (waterfall(&one.receipt))
                    p { a href={ "/console/invocations/" (escaped(&one.id)) } { "This invocation" } }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_are_sent_as_they_are() {
        let cases = [
            ("", OWN, Ok(r#"{"args":{},"scheduling":null}"#)),
            (r#" {"b":1e400, "a":2} "#, OWN, Ok(r#"{"args":{"b":1e400, "a":2},"scheduling":null}"#)),
            ("7", DEFAULT_POLICY, Ok(r#"{"args":7,"scheduling":{"language":"none"}}"#)),
            ("7", "s\"", Ok(r#"{"args":7,"scheduling":{"language":"app","script":"s\""}}"#)),
            ("{", OWN, Err("The arguments are not JSON: EOF while parsing an object at line 1 column 1.")),
            (
                r#"1},"scheduling":{"#,
                OWN,
                Err("The arguments are not JSON: trailing characters at line 1 column 2."),
            ),
        ];
        for (args, policy, expected) in cases {
            let expected = expected.map(str::to_owned).map_err(str::to_owned);
            assert_eq!(body(args, policy), expected, "{args}");
        }
    }
}
