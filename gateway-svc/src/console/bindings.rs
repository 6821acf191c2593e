//! Events and sinks of all functions, and whether their counts add up.

use axum::response::Response;
use maud::{Markup, html};

use super::api::Api;
use super::failure::Failure;
use super::functions::path;
use super::layout::failed;
use super::live;
use super::model::{Conservation, Event, Sink};
use super::page::{Section, page};
use super::parts::{count, escaped, state, time_if_any};
use super::visitor::Visitor;

struct Bindings {
    events: Result<Vec<Event>, Failure>,
    sinks: Result<Vec<Sink>, Failure>,
    books: Result<Conservation, Failure>,
}

async fn read(api: &Api) -> Bindings {
    let (events, sinks, books) =
        tokio::join!(api.get("/v1/events"), api.get("/v1/sinks"), api.get("/v1/conservation"));
    Bindings { events, sinks, books }
}

/// `GET /console/bindings`
pub(super) async fn show(visitor: Visitor) -> Markup {
    let bindings = read(&visitor.api).await;
    let content = html! {
        div.flow sse-connect="/console/live/bindings" sse-swap="bindings" { (panels(&bindings)) }
    };
    page(&visitor, Section::Bindings, "Events and sinks", &content)
}

/// `GET /console/live/bindings`
pub(super) async fn follow(visitor: Visitor) -> Result<Response, Failure> {
    live::refreshed(visitor, (), |visitor, ()| {
        Box::pin(async move { ((), Ok(vec![("bindings", panels(&read(&visitor.api).await))])) })
    })
}

fn panels(bindings: &Bindings) -> Markup {
    html! {
        (balance(&bindings.books))
        section.panel {
            h2 { "Events" }
            @match &bindings.events {
                Ok(events) if events.is_empty() => p.quiet { "No function has an event source." },
                Ok(events) => (events_table(events)),
                Err(failure) => (failed(&failure.message)),
            }
        }
        section.panel {
            h2 { "Sinks" }
            @match &bindings.sinks {
                Ok(sinks) if sinks.is_empty() => p.quiet { "No function has a sink." },
                Ok(sinks) => (sinks_table(sinks)),
                Err(failure) => (failed(&failure.message)),
            }
        }
    }
}

/// The sums, which have to be equal on both sides.
fn balance(books: &Result<Conservation, Failure>) -> Markup {
    let books = match books {
        Ok(books) => books,
        Err(failure) => return failed(&failure.message),
    };
    let (events, sinks) = (&books.events.sum, &books.sinks.sum);
    let (of_events, of_sinks) = (events.counts, sinks.counts);
    html! {
        section.panel {
            header {
                h2 { "Counts" }
                @if events.drift == 0 && events.dead_letter_drift == 0 && sinks.drift == 0 {
                    span.state.ok { "they add up" }
                } @else {
                    span.state.bad { "they do not add up" }
                }
            }
            p {
                strong { (count(of_events.received)) } " events received = "
                (count(of_events.acknowledged)) " acknowledged + " (count(of_events.in_flight)) " in flight + "
                (count(of_events.lost)) " lost" (drift(events.drift))
            }
            p {
                strong { (count(of_sinks.accepted)) } " results accepted = "
                (count(of_sinks.delivered)) " delivered + " (count(of_sinks.pending)) " pending + "
                (count(of_sinks.dead)) " dead letters + " (count(of_sinks.purged)) " purged" (drift(sinks.drift))
            }
        }
    }
}

fn drift(drift: i64) -> Markup {
    html! { @if drift != 0 { ", " span.state.bad { "a difference of " (drift) } } }
}

fn events_table(events: &[Event]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Function" } th scope="col" { "Kind" } th scope="col" { "State" }
                    th.number scope="col" { "Received" } th.number scope="col" { "In flight" }
                    th.number scope="col" { "Invalid" } th.number scope="col" { "Dead letters" }
                    th scope="col" { "Last, UTC" }
                } }
                tbody {
                    @for event in events {
                        @let counts = event.counts.unwrap_or_default();
                        tr title={ "binding " (event.id) } {
                            th scope="row" { a href=(path(&event.module, &event.function)) { (event.module) "/" (event.function) } }
                            td { (event.r#type) " " code { (event.params.as_ref().map_or("", |params| params.get())) } }
                            td { (since(&event.state, event.since.as_deref(), event.message.as_deref())) }
                            td.number { (count(counts.received)) }
                            td.number { (count(counts.in_flight)) }
                            td.number { (count(counts.invalid)) }
                            td.number { (dead(counts.dead_letters, &event.module, &event.function)) }
                            td { (time_if_any(event.last_event_at.as_deref())) }
                        }
                    }
                }
            }
        }
    }
}

fn sinks_table(sinks: &[Sink]) -> Markup {
    html! {
        div.scroll tabindex="0" {
            table {
                thead { tr {
                    th scope="col" { "Function" } th scope="col" { "Kind" } th scope="col" { "State" }
                    th.number scope="col" { "Accepted" } th.number scope="col" { "Delivered" }
                    th.number scope="col" { "Pending" } th.number scope="col" { "Dead letters" }
                    th scope="col" { "Last, UTC" }
                } }
                tbody {
                    @for sink in sinks {
                        @let counts = sink.counts.unwrap_or_default();
                        tr title={ "binding " (sink.id) } {
                            th scope="row" { a href=(path(&sink.module, &sink.function)) { (sink.module) "/" (sink.function) } }
                            td { (sink.r#type) " " code { (sink.params.as_ref().map_or("", |params| params.get())) } }
                            td { (since(&sink.state, sink.since.as_deref(), sink.message.as_deref())) }
                            td.number { (count(counts.accepted)) }
                            td.number { (count(counts.delivered)) }
                            td.number { (count(counts.pending)) }
                            td.number { (dead(counts.dead, &sink.module, &sink.function)) }
                            td { (time_if_any(sink.last_delivery_at.as_deref())) }
                        }
                    }
                }
            }
        }
    }
}

fn since(binding_state: &str, since: Option<&str>, message: Option<&str>) -> Markup {
    html! {
        span title=[since.map(|at| format!("since {at}"))] { (state(binding_state)) }
        @if let Some(message) = message { br; span.quiet { (message) } }
    }
}

/// A number of dead letters, with the way to them.
fn dead(number: u64, module: &str, function: &str) -> Markup {
    html! {
        @if number == 0 { "0" } @else {
            a href={ "/console/dead-letters?module=" (escaped(module)) "&function=" (escaped(function)) } {
                (count(number))
            }
        }
    }
}
