//! Dead letters: what they are, and to redrive or purge one or those that match a filter.

use axum::extract::{Path, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::failure::Failure;
use super::functions;
use super::layout::{done, failed};
use super::model::{DeadLetter, DeadLetters, Purged, Redriven};
use super::page::{Section, csrf, page};
use super::parts::{bytes, count, counted, escaped, indented, text, time};
use super::visitor::{NoFields, Posted, Visitor};

/// How many are listed on a page.
const SHOWN: usize = 100;
/// How many one request redrives or purges, at most.
const MAX_AT_ONCE: usize = 1000;

/// The letters that match all fields that are not empty.
#[derive(Debug, Default, Clone, Deserialize, Serialize)]
pub(super) struct Filter {
    #[serde(default)]
    module: String,
    #[serde(default)]
    function: String,
    #[serde(default)]
    role: String,
    #[serde(default)]
    older_than: String,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Paged {
    /// The id after which the page begins.
    #[serde(default)]
    after: String,
    /// What is asked to be done with all that match: `redrive` or `purge`.
    #[serde(default)]
    action: String,
}

impl Filter {
    /// The fields that are given, by their names in the REST API.
    fn given(&self) -> impl Iterator<Item = (&'static str, &str)> {
        let Self { module, function, role, older_than } = self;
        let all = [("module", module), ("function", function), ("role", role), ("older_than", older_than)];
        all.into_iter().filter(|(_, value)| !value.is_empty()).map(|(name, value)| (name, value.as_str()))
    }

    fn query(&self) -> String {
        self.given().map(|(name, value)| format!("&{name}={}", escaped(value))).collect()
    }
}

/// `GET /console/dead-letters`
pub(super) async fn list(
    visitor: Visitor,
    Query(filter): Query<Filter>,
    Query(paged): Query<Paged>,
) -> Result<Markup, Failure> {
    let after =
        if paged.after.is_empty() { String::new() } else { format!("&after={}", escaped(&paged.after)) };
    let path = format!("/v1/dead-letters?limit={SHOWN}{}{after}", filter.query());
    let (letters, question) = tokio::try_join!(
        visitor.api.get_whole::<DeadLetters>(&path),
        question(&visitor, &filter, &paged.action),
    )?;
    let content = html! {
        (filters(&filter))
        @if let Some(question) = question { (question) }
        section.panel {
            @if letters.data.is_empty() {
                p.quiet { "No dead letters." }
            } @else {
                (table(&letters.data))
                div.inline {
                    @if let Some(next) = &letters.next {
                        a.button href={ "/console/dead-letters?after=" (escaped(next)) (filter.query()) } { "Next page" }
                    }
                    a.button href={ "/console/dead-letters?action=redrive" (filter.query()) } { "Redrive all that match…" }
                    a.button href={ "/console/dead-letters?action=purge" (filter.query()) } { "Purge all that match…" }
                }
            }
        }
    };
    Ok(page(&visitor, Section::DeadLetters, "Dead letters", &content))
}

fn filters(filter: &Filter) -> Markup {
    html! {
        form.filters action="/console/dead-letters" {
            label { "Module" input name="module" value=(filter.module) autocomplete="off"; }
            label { "Function" input name="function" value=(filter.function) autocomplete="off"; }
            label {
                "Of"
                select name="role" {
                    @for (value, words) in [("", "events and sinks"), ("event", "events"), ("sink", "sinks")] {
                        option value=(value) selected[filter.role == value] { (words) }
                    }
                }
            }
            label { "Older than" input name="older_than" value=(filter.older_than) placeholder="15m, 12h, 7d" autocomplete="off"; }
            button type="submit" { "Filter" }
        }
    }
}

fn table(letters: &[DeadLetter]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Since, UTC" } th scope="col" { "Function" } th scope="col" { "Of" }
                    th scope="col" { "Reason" } th.number scope="col" { "Attempts" } th.number scope="col" { "Payload" }
                } }
                tbody {
                    @for letter in letters {
                        tr {
                            th scope="row" { a href={ "/console/dead-letters/" (escaped(&letter.id)) } { (time(&letter.dead_lettered_at)) } }
                            td { a href=(functions::path(&letter.module, &letter.function)) { (letter.module) "/" (letter.function) } }
                            td { (letter.role.as_deref().unwrap_or("unknown")) ", " (letter.binding_type) }
                            td { (letter.reason) }
                            td.number { (letter.attempts) }
                            td.number { (bytes(letter.payload_bytes)) }
                        }
                    }
                }
            }
        }
    }
}

/// What would happen to the letters that match, and the button that does it.
async fn question(visitor: &Visitor, filter: &Filter, action: &str) -> Result<Option<Markup>, Failure> {
    let (verb, words) = match action {
        "redrive" => (
            "Redrive",
            "Functions are invoked again with events, and results are queued for delivery again, both with the same invocation id. What fails again stays a dead letter.",
        ),
        "purge" => ("Purge", "They are removed with their payloads. This cannot be undone."),
        _ => return Ok(None),
    };
    let path = format!("/v1/dead-letters?limit={MAX_AT_ONCE}{}", filter.query());
    let matching: DeadLetters = visitor.api.get_whole(&path).await?;
    let number = matching.data.len();
    Ok(Some(html! {
        form.panel method="post" action={ "/console/dead-letters/" (action) } {
            (csrf(visitor))
            @for (name, value) in filter.given() { input type="hidden" name=(name) value=(value); }
            h2 {
                (verb) " " (counted(number as u64, "dead letter"))
                @if matching.next.is_some() { ", the oldest of more" }
                "?"
            }
            p {
                @if filter.given().next().is_none() { "All that you have access to. " } @else { "Those that match the filter. " }
                (words)
            }
            div.inline {
                @if action == "purge" { button.danger type="submit" { (verb) " them" } } @else { button type="submit" { (verb) " them" } }
                a.button href={ "/console/dead-letters?" (filter.query()) } { "Cancel" }
            }
        }
    }))
}

/// `POST /console/dead-letters/redrive`
pub(super) async fn redrive_all(Posted { visitor, form }: Posted<Filter>) -> Result<Markup, Failure> {
    let mut body: Value = form.given().map(|(name, value)| (name.to_owned(), json!(value))).collect();
    body["limit"] = json!(MAX_AT_ONCE);
    let outcome = visitor.api.post::<Redriven>("/v1/dead-letters/redrive", &body).await?;
    let content = html! {
        (done(&format!("Redriven: {}.", counted(outcome.redriven as u64, "dead letter"))))
        @if !outcome.failures.is_empty() {
            (failed(&format!("Failed again: {}.", counted(outcome.failures.len() as u64, "dead letter"))))
            ul.problem-list {
                @for failure in &outcome.failures {
                    li { a href={ "/console/dead-letters/" (escaped(&failure.id)) } { (failure.id) } " " (failure.reason) }
                }
            }
        }
        p { a href="/console/dead-letters" { "To the dead letters" } }
    };
    Ok(page(&visitor, Section::DeadLetters, "Redriven", &content))
}

/// `POST /console/dead-letters/purge`
pub(super) async fn purge_all(Posted { visitor, form }: Posted<Filter>) -> Result<Markup, Failure> {
    let all = if form.given().next().is_none() { "&all=true" } else { "" };
    let path = format!("/v1/dead-letters?limit={MAX_AT_ONCE}{all}{}", form.query());
    let body = visitor.api.delete(&path).await?;
    let purged: Purged = super::api::data(&body)?;
    let content = html! {
        (done(&format!("Purged: {}.", counted(purged.purged as u64, "dead letter"))))
        p { a href="/console/dead-letters" { "To the dead letters" } }
    };
    Ok(page(&visitor, Section::DeadLetters, "Purged", &content))
}

/// `GET /console/dead-letters/{id}`
pub(super) async fn show(visitor: Visitor, Path(id): Path<String>) -> Result<Markup, Failure> {
    render(&visitor, &id, None).await
}

async fn render(visitor: &Visitor, id: &str, problem: Option<&str>) -> Result<Markup, Failure> {
    let letter: DeadLetter = visitor.api.get(&format!("/v1/dead-letters/{}", escaped(id))).await?;
    let content = html! {
        @if let Some(problem) = problem { (failed(problem)) }
        (failed(&letter.reason))
        (facts(&letter))
        section.panel { h2 { "Payload" } (payload(&letter)) }
        (actions(visitor, &letter))
    };
    Ok(page(visitor, Section::DeadLetters, "Dead letter", &content))
}

fn facts(letter: &DeadLetter) -> Markup {
    html! {
        dl.facts {
            div { dt { "Function" } dd { a href=(functions::path(&letter.module, &letter.function)) { (letter.module) "/" (letter.function) } } }
            div { dt { "Of" } dd { (letter.role.as_deref().unwrap_or("unknown")) ", " (letter.binding_type) } }
            div { dt { "Attempts" } dd { (count(u64::from(letter.attempts))) } }
            div { dt { "Received" } dd { (time(&letter.received_at)) } }
            div { dt { "Dead letter since" } dd { (time(&letter.dead_lettered_at)) } }
            div { dt { "Invocation" } dd { code { (letter.invocation_id) } } }
            div { dt { "Binding" } dd { code { (letter.binding_id) } } }
            @if !letter.trace_id.is_empty() { div { dt { "Trace" } dd { code { (letter.trace_id) } } } }
        }
    }
}

fn payload(letter: &DeadLetter) -> Markup {
    html! {
        @match (&letter.payload, &letter.payload_base64) {
            (Some(json), _) => (text(&indented(json.get()))),
            (None, Some(base64)) => {
                p.quiet { "The payload is not what the binding accepts. In Base64:" }
                (text(base64))
            },
            (None, None) => p.quiet { "None." },
        }
    }
}

fn actions(visitor: &Visitor, letter: &DeadLetter) -> Markup {
    let own = format!("/console/dead-letters/{}", escaped(&letter.id));
    let again = match letter.role.as_deref() {
        Some("event") => "A redrive invokes the function again with this payload and the same invocation id.",
        _ => "A redrive queues this result for delivery again.",
    };
    html! {
        section.panel {
            h2 { "Redrive or purge" }
            p.quiet {
                @if letter.invalid { "An invalid event cannot be redriven. " } @else { (again) " " }
                "A purge removes the dead letter and its payload, which cannot be undone."
            }
            div.inline {
                @if !letter.invalid {
                    form method="post" action={ (own) "/redrive" } { (csrf(visitor)) button type="submit" { "Redrive" } }
                }
                form method="post" action={ (own) "/purge" } data-confirm="Purge this dead letter?" {
                    (csrf(visitor)) button.danger type="submit" { "Purge" }
                }
            }
        }
    }
}

/// `POST /console/dead-letters/{id}/redrive`
pub(super) async fn redrive(
    Path(id): Path<String>,
    Posted { visitor, .. }: Posted<NoFields>,
) -> Result<Response, Failure> {
    let path = format!("/v1/dead-letters/{}/redrive", escaped(&id));
    match visitor.api.post::<Redriven>(&path, &json!({})).await {
        Ok(_) => Ok(Redirect::to(Section::DeadLetters.path()).into_response()),
        // It stays, with the new reason.
        Err(failure) => Ok(render(&visitor, &id, Some(&failure.message)).await?.into_response()),
    }
}

/// `POST /console/dead-letters/{id}/purge`
pub(super) async fn purge(
    Path(id): Path<String>,
    Posted { visitor, .. }: Posted<NoFields>,
) -> Result<Redirect, Failure> {
    visitor.api.delete(&format!("/v1/dead-letters/{}", escaped(&id))).await?;
    Ok(Redirect::to(Section::DeadLetters.path()))
}
