//! One function: playground, logs, recent invocations, events and sinks.

use axum::extract::{Path, Query};
use axum::response::{IntoResponse as _, Redirect, Response};
use maud::{Markup, html};
use serde::Deserialize;

use super::failure::Failure;
use super::functions::path;
use super::invocation::table;
use super::layout::failed;
use super::logs::{self, LogQuery};
use super::model::{Event, Function, Invocation, RecentInvocations, Script, Sink};
use super::page::{Section, csrf, page};
use super::parts::{bytes, count, escaped, state, time, time_if_any};
use super::playground::{self, InvokeForm, Played};
use super::visitor::{Posted, Visitor};

/// How many recent invocations are shown.
const SHOWN: usize = 10;

/// `GET /console/functions/{module}/{function}`
pub(super) async fn show(
    visitor: Visitor,
    Path((module, name)): Path<(String, String)>,
    Query(LogQuery { trace }): Query<LogQuery>,
) -> Result<Markup, Failure> {
    render(&visitor, &module, &name, &trace, &Played::nothing()).await
}

/// `POST /console/functions/{module}/{function}/invoke`
pub(super) async fn invoke(
    Path((module, name)): Path<(String, String)>,
    Posted { visitor, form }: Posted<InvokeForm>,
) -> Result<Markup, Failure> {
    let played = playground::play(&visitor.api, &module, &name, form).await;
    render(&visitor, &module, &name, "", &played).await
}

/// The page, with the outcome of an invocation in the playground.
async fn render(
    visitor: &Visitor,
    module: &str,
    name: &str,
    trace: &str,
    played: &Played,
) -> Result<Markup, Failure> {
    let api = &visitor.api;
    let own = format!("/v1/fn/{}/{}", escaped(module), escaped(name));
    let recent =
        format!("/v1/invocations?module={}&function={}&limit={SHOWN}", escaped(module), escaped(name));
    let (function, recent, scripts, log) = tokio::join!(
        api.get::<Function>(&own),
        api.get::<RecentInvocations>(&recent),
        api.get::<Vec<Script>>("/v1/scripts/app"),
        logs::read(api, module, name, trace),
    );
    // The page is about the function; it reads without the rest.
    let function = function?;
    let invocations = recent.map(|recent| recent.invocations).unwrap_or_default();
    let content = html! {
        (facts(&function))
        div.columns {
            section.panel aria-labelledby="playground" {
                h2 id="playground" { "Playground" }
                (playground::form(visitor, &function, &scripts.unwrap_or_default(), played))
                (playground::result(played))
            }
            (logs::panel(&function, trace, &log))
        }
        (recently(&function, &invocations))
        @if !function.events.is_empty() { (events(&function.events)) }
        @if !function.sinks.is_empty() { (sinks(&function.sinks)) }
        (changes(visitor, &function))
    };
    Ok(page(visitor, Section::Functions, &format!("{module}/{name}"), &content))
}

fn facts(function: &Function) -> Markup {
    let hash = function.hash.as_deref().unwrap_or_default();
    let metadata = &function.metadata;
    html! {
        dl.facts {
            div { dt { "Code" } dd { (bytes(function.size)) " " code title=(hash) { (hash.get(..12).unwrap_or(hash)) } } }
            div { dt { "Kind" } dd { (function.kind.replace('_', " ")) } }
            div { dt { "Tag" } dd { @if metadata.tag.is_empty() { span.quiet { "none" } } @else { (metadata.tag) } } }
            div { dt { "Capacity" } dd { (count(metadata.capacity)) " KB" } }
            @if metadata.idempotent { div { dt { "Idempotent" } dd { "yes" } } }
            @if !metadata.script.is_empty() { div { dt { "Script" } dd { (metadata.script) } } }
            @if let Some(limit) = function.limits.memory_bytes { div { dt { "Memory, at most" } dd { (bytes(limit)) } } }
            @if let Some(limit) = function.limits.timeout_ms { div { dt { "Timeout" } dd { (count(limit)) " ms" } } }
            @if let Some(limit) = function.limits.output_bytes { div { dt { "Output, at most" } dd { (bytes(limit)) } } }
            div { dt { "Creator" } dd { (function.creator) } }
            div { dt { "Created" } dd { (time(&function.created_at)) } }
            div { dt { "Updated" } dd { (time(&function.updated_at)) } }
        }
    }
}

fn recently(function: &Function, invocations: &[Invocation]) -> Markup {
    let all = format!(
        "/console/invocations?module={}&function={}",
        escaped(&function.module),
        escaped(&function.name)
    );
    html! {
        section.panel id="recent" {
            header {
                h2 { "Recent invocations" }
                @if !invocations.is_empty() { a href=(all) { "All" } }
            }
            @if invocations.is_empty() {
                p.quiet { "None through this gateway." }
            } @else {
                (table(invocations, false))
            }
        }
    }
}

fn events(events: &[Event]) -> Markup {
    html! {
        section.panel {
            h2 { "Events" }
            div.scroll tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "Kind" } th scope="col" { "Parameters" } th scope="col" { "State" }
                        th.number scope="col" { "Received" } th.number scope="col" { "In flight" }
                        th.number scope="col" { "Dead letters" } th scope="col" { "Last, UTC" }
                    } }
                    tbody {
                        @for event in events {
                            @let counts = event.counts.unwrap_or_default();
                            tr {
                                th scope="row" { (event.r#type) }
                                td { code { (event.params.as_ref().map_or("", |params| params.get())) } }
                                td { (state(&event.state)) @if let Some(why) = &event.message { " " span.quiet { (why) } } }
                                td.number { (count(counts.received)) }
                                td.number { (count(counts.in_flight)) }
                                td.number { (count(counts.dead_letters)) }
                                td { (time_if_any(event.last_event_at.as_deref())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

fn sinks(sinks: &[Sink]) -> Markup {
    html! {
        section.panel {
            h2 { "Sinks" }
            div.scroll tabindex="0" {
                table {
                    thead { tr {
                        th scope="col" { "Kind" } th scope="col" { "Parameters" } th scope="col" { "State" }
                        th.number scope="col" { "Delivered" } th.number scope="col" { "Pending" }
                        th.number scope="col" { "Dead letters" } th scope="col" { "Last, UTC" }
                    } }
                    tbody {
                        @for sink in sinks {
                            @let counts = sink.counts.unwrap_or_default();
                            tr {
                                th scope="row" { (sink.r#type) }
                                td { code { (sink.params.as_ref().map_or("", |params| params.get())) } }
                                td { (state(&sink.state)) @if let Some(why) = &sink.message { " " span.quiet { (why) } } }
                                td.number { (count(counts.delivered)) }
                                td.number { (count(counts.pending)) }
                                td.number { (count(counts.dead)) }
                                td { (time_if_any(sink.last_delivery_at.as_deref())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

/// The forms that replace the code and delete the function.
fn changes(visitor: &Visitor, function: &Function) -> Markup {
    let own = path(&function.module, &function.name);
    html! {
        section.panel {
            h2 { "Change" }
            div.columns {
                form.stack method="post" action={ (own) "/code" } enctype="multipart/form-data" {
                    (csrf(visitor))
                    label.drop { "New code" input type="file" name="code" accept=".wasm,application/wasm" required; }
                    button type="submit" { "Replace the code" }
                }
                form.stack method="post" action={ (own) "/delete" } {
                    (csrf(visitor))
                    label {
                        span { "To delete the function, type its name: " code { (function.name) } }
                        input name="name" required autocomplete="off" spellcheck="false";
                    }
                    button.danger type="submit" { "Delete the function" }
                }
            }
        }
    }
}

#[derive(Deserialize)]
pub(super) struct DeleteForm {
    name: String,
}

/// `POST /console/functions/{module}/{function}/delete`
pub(super) async fn delete(
    Path((module, name)): Path<(String, String)>,
    Posted { visitor, form }: Posted<DeleteForm>,
) -> Result<Response, Failure> {
    if form.name != name {
        let why = format!("The function was not deleted: expected its name {name:?}, not {:?}.", form.name);
        return Ok(page(
            &visitor,
            Section::Functions,
            "Not deleted",
            &html! {
                (failed(&why))
                p { a href=(path(&module, &name)) { "Back to the function" } }
            },
        )
        .into_response());
    }
    visitor.api.delete(&format!("/v1/fn/{}/{}", escaped(&module), escaped(&name))).await?;
    Ok(Redirect::to(Section::Functions.path()).into_response())
}
