//! Recent invocations, and one of them.

use axum::extract::{Path, Query};
use maud::{Markup, html};
use serde::Deserialize;

use super::failure::Failure;
use super::functions;
use super::layout::failed;
use super::logs;
use super::model::{Decision, Explanation, Invocation, Log, RecentInvocations};
use super::page::{Section, page};
use super::parts::{counted, duration, escaped, outcome, time};
use super::visitor::Visitor;
use super::waterfall::waterfall;
use crate::config::TRACE_ID;

/// How many are listed.
const SHOWN: usize = 200;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Filter {
    #[serde(default)]
    module: String,
    #[serde(default)]
    function: String,
    #[serde(default)]
    outcome: String,
    #[serde(default)]
    worker: String,
}

/// `GET /console/invocations`
pub(super) async fn list(visitor: Visitor, Query(filter): Query<Filter>) -> Result<Markup, Failure> {
    let mut path = format!("/v1/invocations?limit={SHOWN}");
    for (name, value) in [
        ("module", &filter.module),
        ("function", &filter.function),
        ("outcome", &filter.outcome),
        ("worker", &filter.worker),
    ] {
        if !value.is_empty() {
            path.push_str(&format!("&{name}={}", escaped(value)));
        }
    }
    let (recent, decisions) = tokio::join!(
        visitor.api.get::<RecentInvocations>(&path),
        visitor.api.get::<Vec<Decision>>("/v1/decisions?limit=50"),
    );
    let recent = recent?;
    let content = html! {
        (filters(&filter))
        section.panel {
            header {
                h2 { "Through this gateway" }
                span.quiet { (counted(recent.invocations.len() as u64, "invocation")) }
            }
            @if recent.invocations.is_empty() {
                p.quiet { "None." }
            } @else {
                (table(&recent.invocations, true))
            }
            p.quiet {
                "The gateway keeps the latest " (recent.max_kept) " invocations of all users through its REST port, in memory. "
                "Events and invocations through gRPC are among the placements."
            }
        }
        section.panel {
            h2 { "Placements" }
            @match &decisions {
                Ok(decisions) if decisions.is_empty() => p.quiet { "None." },
                Ok(decisions) => (placements(decisions)),
                Err(failure) => (failed(&failure.message)),
            }
        }
    };
    Ok(page(&visitor, Section::Invocations, "Invocations", &content))
}

fn filters(filter: &Filter) -> Markup {
    html! {
        form.filters action="/console/invocations" {
            label { "Module" input name="module" value=(filter.module) autocomplete="off"; }
            label { "Function" input name="function" value=(filter.function) autocomplete="off"; }
            label {
                "Outcome"
                select name="outcome" {
                    @for (value, words) in [("", "any"), ("ok", "ok"), ("function_error", "function error"), ("failed", "failed")] {
                        option value=(value) selected[filter.outcome == value] { (words) }
                    }
                }
            }
            label { "Worker" input name="worker" value=(filter.worker) autocomplete="off"; }
            button type="submit" { "Filter" }
        }
    }
}

/// Invocations, with their functions if those differ.
pub(super) fn table(invocations: &[Invocation], with_functions: bool) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Began, UTC" }
                    @if with_functions { th scope="col" { "Function" } }
                    th scope="col" { "Outcome" } th.number scope="col" { "Time" }
                    th scope="col" { "Worker" } th scope="col" { "Subject" }
                } }
                tbody {
                    @for one in invocations {
                        tr {
                            th scope="row" { a href={ "/console/invocations/" (escaped(&one.id)) } { (time(&one.at)) } }
                            @if with_functions {
                                td { a href=(functions::path(&one.module, &one.function)) { (one.module) "/" (one.function) } }
                            }
                            td { (outcome(&one.outcome, one.reason.as_deref())) }
                            td.number { (duration(one.receipt.total_us)) }
                            td { (one.receipt.worker) }
                            td { (one.subject) }
                        }
                    }
                }
            }
        }
    }
}

fn placements(decisions: &[Decision]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "At, UTC" } th scope="col" { "Function" } th scope="col" { "Policy" }
                    th scope="col" { "Worker" } th.number scope="col" { "Ran for" }
                } }
                tbody {
                    @for one in decisions {
                        tr {
                            th scope="row" {
                                a href={ "/console/decisions/" (escaped(&one.id)) } { (time(&mesh::clock::rfc_3339(one.at_ms))) }
                            }
                            td { a href=(functions::path(&one.module, &one.function)) { (one.module) "/" (one.function) } }
                            td { @if one.script.is_empty() { "default policy" } @else { (one.script) } }
                            td { @if one.worker.is_empty() { span.state.bad { (one.refusal.replace('_', " ")) } } @else { (one.worker) } }
                            td.number {
                                @match one.invocation.duration_ns {
                                    Some(ns) => (duration(ns / 1_000)),
                                    None => span.quiet { "—" },
                                }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// `GET /console/invocations/{id}`
pub(super) async fn show(visitor: Visitor, Path(id): Path<String>) -> Result<Markup, Failure> {
    let recent: RecentInvocations = visitor.api.get(&format!("/v1/invocations?id={}", escaped(&id))).await?;
    let Some(one) = recent.invocations.into_iter().next() else {
        let why = format!(
            "no invocation {id} among the latest {} through this gateway; events are among the placements",
            recent.max_kept
        );
        return Err(Failure::not_found(why));
    };
    let decision = async {
        let id = one.decision.as_ref()?;
        Some(visitor.api.get::<Explanation>(&format!("/v1/decisions/{}", escaped(id))).await)
    };
    let (explanation, log) = tokio::join!(decision, logs::read(&visitor.api, &one.module, &one.function, ""));
    let content = html! {
        (facts(&visitor, &one))
        @if let Some(message) = &one.message { (failed(message)) }
        div.columns {
            section.panel { h2 { "Receipt" } (waterfall(&one.receipt)) }
            section.panel { h2 { "Log" } (lines_of(&one, log)) }
        }
        @match explanation {
            Some(Ok(explanation)) => (super::explanation::panel(&explanation)),
            Some(Err(failure)) => section.panel { h2 { "Placement" } p.quiet { (failure.message) } },
            None => {},
        }
    };
    let title = format!("Invocation of {}/{}", one.module, one.function);
    Ok(page(&visitor, Section::Invocations, &title, &content))
}

fn facts(visitor: &Visitor, one: &Invocation) -> Markup {
    let trace_link = one.trace_id.as_ref().zip(visitor.console.trace_url.as_ref());
    let trace_link = trace_link.map(|(id, template)| template.replace(TRACE_ID, &escaped(id)));
    html! {
        dl.facts {
            div { dt { "Outcome" } dd { (outcome(&one.outcome, one.reason.as_deref())) } }
            div { dt { "Function" } dd { a href=(functions::path(&one.module, &one.function)) { (one.module) "/" (one.function) } } }
            div { dt { "Began" } dd { (time(&one.at)) " UTC" } }
            div { dt { "Subject" } dd { (one.subject) } }
            div { dt { "Id" } dd { code { (one.id) } } }
            @if let Some(id) = &one.trace_id {
                div { dt { "Trace" } dd {
                    @match trace_link {
                        Some(link) => a href=(link) rel="noreferrer" { code { (id) } },
                        None => code { (id) },
                    }
                } }
            }
        }
    }
}

fn lines_of(one: &Invocation, log: Result<Log, Failure>) -> Markup {
    let lines =
        log.map(|log| log.lines.into_iter().filter(|line| line.invocation == one.id).collect::<Vec<_>>());
    html! {
        @match &lines {
            Ok(lines) if lines.is_empty() => p.quiet { "No lines, or they are no longer kept." },
            Ok(lines) => ol.log { @for line in lines { (logs::line(line, false)) } },
            Err(failure) => p.quiet { (failure.message) },
        }
    }
}
