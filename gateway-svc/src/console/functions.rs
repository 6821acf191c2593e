//! The functions by module.

use std::collections::HashMap;

use axum::extract::Query;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use maud::{Markup, html};
use serde::Deserialize;

use super::failure::Failure;
use super::model::{Invocation, Module, Name, RecentInvocations};
use super::page::{Section, csrf, page};
use super::parts::{count, counted, duration, escaped, time};
use super::visitor::Visitor;

/// How many modules are read at once.
const AT_ONCE: usize = 16;
/// The maximum number of functions that are listed; a search finds the others.
const MAX_LISTED: usize = 500;

#[derive(Debug, Default, Deserialize)]
pub(super) struct Search {
    /// A part of a module's or function's name.
    #[serde(default)]
    q: String,
}

/// What recent invocations say about a function.
#[derive(Default)]
struct Activity<'a> {
    count: u64,
    errors: u64,
    total_us: Vec<u64>,
    last: Option<&'a str>,
}

/// `GET /console/functions`
pub(super) async fn list(visitor: Visitor, Query(Search { q }): Query<Search>) -> Result<Markup, Failure> {
    let (modules, recent) = tokio::try_join!(
        modules(&visitor),
        visitor.api.get::<RecentInvocations>("/v1/invocations?limit=2000")
    )?;
    let activity = activity(&recent.invocations);
    let wanted = q.trim().to_lowercase();
    let matches =
        |module: &str, function: &str| format!("{module}/{function}").to_lowercase().contains(&wanted);
    let all: usize = modules.iter().map(|module| module.functions.len()).sum();
    let mut room = MAX_LISTED;
    let mut listed = Vec::new();
    for module in &modules {
        let found = module.functions.iter().filter(|one| matches(&module.name, &one.name)).take(room);
        let found: Vec<_> = found.collect();
        room -= found.len();
        // An empty module is found by its name.
        if !found.is_empty() || module.name.to_lowercase().contains(&wanted) {
            listed.push((module, found));
        }
    }
    let content = html! {
        form.search action="/console/functions" role="search" {
            label.hidden for="q" { "Search" }
            input id="q" type="search" name="q" value=(q) placeholder="Module or function" autocomplete="off"
                hx-get="/console/functions" hx-trigger="input changed delay:200ms, search" hx-select="#functions"
                hx-target="#functions" hx-swap="outerHTML";
            button type="submit" { "Search" }
        }
        div id="functions" {
            @for (module, found) in &listed { (module_section(module, found, &activity)) }
            p.quiet {
                (counted(all as u64, "function")) " in " (counted(modules.len() as u64, "module")) "."
                @if room == 0 { " The first " (MAX_LISTED) " that match are listed; search for the others." }
            }
        }
        (new_module(&visitor))
    };
    Ok(page(&visitor, Section::Functions, "Functions", &content))
}

/// The modules that the visitor sees, with their functions.
async fn modules(visitor: &Visitor) -> Result<Vec<Module>, Failure> {
    let names: Vec<Name> = visitor.api.get("/v1/fn").await?;
    let read = |Name { name }: Name| async move {
        match visitor.api.get::<Module>(&format!("/v1/fn/{name}")).await {
            // It has just been deleted.
            Err(failure) if failure.status == http::StatusCode::NOT_FOUND => Ok(None),
            module => module.map(Some),
        }
    };
    let modules: Vec<_> = stream::iter(names).map(read).buffered(AT_ONCE).try_collect().await?;
    Ok(modules.into_iter().flatten().collect())
}

fn activity(invocations: &[Invocation]) -> HashMap<(&str, &str), Activity<'_>> {
    let mut by_function = HashMap::<_, Activity<'_>>::new();
    for one in invocations {
        let activity = by_function.entry((one.module.as_str(), one.function.as_str())).or_default();
        activity.count += 1;
        activity.errors += u64::from(one.outcome != "ok");
        activity.total_us.push(one.receipt.total_us);
        // The latest one is the first.
        activity.last.get_or_insert(one.at.as_str());
    }
    by_function
}

fn module_section(
    module: &Module,
    functions: &[&Name],
    activity: &HashMap<(&str, &str), Activity<'_>>,
) -> Markup {
    let name = &module.name;
    html! {
        section.panel {
            header {
                h2 { (name) @if name == "_" { " " span.quiet { "shared" } } }
                a.button href={ "/console/modules/" (escaped(name)) "/new" } { "New function" }
            }
            @if functions.is_empty() {
                p.quiet { "No functions." }
            } @else {
                div.scroll tabindex="0" {
                    table {
                        thead {
                            tr {
                                th scope="col" { "Function" }
                                th.number scope="col" { "Recent invocations" }
                                th.number scope="col" { "Errors" }
                                th.number scope="col" { "Median" }
                                th scope="col" { "Last, UTC" }
                            }
                        }
                        tbody {
                            @for Name { name: function } in functions {
                                (row(name, function, activity.get(&(name.as_str(), function.as_str()))))
                            }
                        }
                    }
                }
            }
        }
    }
}

fn row(module: &str, function: &str, activity: Option<&Activity<'_>>) -> Markup {
    html! {
        tr {
            th scope="row" { a href=(path(module, function)) { (function) } }
            @match activity {
                Some(Activity { count: number, errors, total_us, last }) => {
                    td.number { (count(*number)) }
                    td.number { @if *errors > 0 { span.state.bad { (count(*errors)) } } @else { "0" } }
                    td.number { (duration(median(total_us))) }
                    td { @if let Some(last) = last { (time(last)) } }
                }
                None => { td.number.quiet { "—" } td.number.quiet { "—" } td.number.quiet { "—" } td.quiet { "—" } }
            }
        }
    }
}

fn median(values: &[u64]) -> u64 {
    let mut sorted = values.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

fn new_module(visitor: &Visitor) -> Markup {
    html! {
        form.inline method="post" action="/console/modules" {
            (csrf(visitor))
            label { "New module" input name="name" required maxlength="160" pattern="[_a-zA-Z0-9]+" autocomplete="off"
                title="Letters, digits and underscores"; }
            button type="submit" { "Create" }
        }
    }
}

/// The page of a function.
pub(super) fn path(module: &str, function: &str) -> String {
    format!("/console/functions/{}/{}", escaped(module), escaped(function))
}
