//! The overview: the mesh as it is, the last hour, and what is wrong.

use axum::response::Response;
use maud::{Markup, html};

use super::chart::{Chart, Series, chart};
use super::failure::Failure;
use super::live;
use super::map;
use super::model::Minute;
use super::page::{Section, page};
use super::parts::{count, duration, rate};
use super::problems::{self, Problem};
use super::snapshot::{Rates, Snapshot, recent_rate};
use super::visitor::Visitor;

/// `GET /console`
pub(super) async fn show(visitor: Visitor) -> Markup {
    let snapshot = Snapshot::take(&visitor).await;
    let content = html! {
        div.flow sse-connect="/console/live/overview" {
            div id="live" sse-swap="live" { (moving(&snapshot, None)) }
            div.columns {
                section.panel {
                    header {
                        h2 { "Invocations per second, last hour" }
                        p.legend { span { "all" } span.bad { "errors" } }
                    }
                    (chart("invocations", &per_second(snapshot.minutes())))
                }
                section.panel {
                    header {
                        h2 { "Time in the mesh, last hour" }
                        p.legend { span { "median" } span.second { "99th percentile" } }
                    }
                    (chart("latency", &latencies(snapshot.minutes())))
                }
            }
            div hidden sse-swap="charts" { (charts(&snapshot)) }
            p.quiet { "Invocations through this gateway's REST port" @if !visitor.is_admin() { ", yours" } "; events and sinks of functions that you have access to." }
        }
    };
    page(&visitor, Section::Overview, "Overview", &content)
}

/// `GET /console/live/overview`
pub(super) async fn follow(visitor: Visitor) -> Result<Response, Failure> {
    live::refreshed(visitor, None, |visitor, before: Option<Snapshot>| {
        Box::pin(async move {
            let now = Snapshot::take(visitor).await;
            let rates = before.as_ref().and_then(|before| now.rates(before));
            let parts = vec![("live", moving(&now, rates)), ("charts", charts(&now))];
            (Some(now), Ok(parts))
        })
    })
}

/// What moves: problems, numbers and the drawing.
fn moving(snapshot: &Snapshot, rates: Option<Rates>) -> Markup {
    let problems = problems::of(snapshot);
    html! {
        (wrong(&problems))
        (tiles(snapshot, rates))
        section.panel {
            h2 { "The mesh" }
            (map::map(snapshot, rates))
        }
    }
}

fn wrong(problems: &[Problem]) -> Markup {
    html! {
        @if problems.is_empty() {
            p.message.ok role="status" { "Nothing is wrong." }
        } @else {
            ul.problems {
                @for Problem { kind, words, path } in problems {
                    li.message class=(kind) { (words) " " a href=(path) { "Show" } }
                }
            }
        }
    }
}

fn tiles(snapshot: &Snapshot, rates: Option<Rates>) -> Markup {
    let minutes = snapshot.minutes();
    let sum = |of: fn(&Minute) -> u64| minutes.iter().map(of).sum::<u64>();
    let (all, errors, cold) =
        (sum(|minute| minute.count), sum(|minute| minute.errors), sum(|minute| minute.cold));
    let latest = minutes.last();
    let dead = snapshot.books.as_ref().ok();
    let dead = dead.map(|books| books.events.sum.counts.dead_letters + books.sinks.sum.counts.dead);
    let latency = |of: fn(&Minute) -> u64| latest.map_or("—".to_owned(), |minute| duration(of(minute)));
    html! {
        dl.tiles {
            div { dt { "Invocations now" } dd { (rate(recent_rate(minutes, mesh::clock::now_ms()))) } }
            div { dt { "Last hour" } dd { (count(all)) } }
            div { dt { "Median" } dd { (latency(|minute| minute.p50_us)) } }
            div { dt { "99th percentile" } dd { (latency(|minute| minute.p99_us)) } }
            div { dt { "Errors, last hour" } dd { (count(errors)) " " small { (share(errors, all)) } } }
            div { dt { "Cold starts, last hour" } dd { (count(cold)) " " small { (share(cold, all)) } } }
            div { dt { "Events" } dd { @match rates { Some(rates) => (rate(rates.received)), None => "—" } } }
            div { dt { "Dead letters" } dd { @match dead { Some(dead) => (count(dead)), None => "—" } } }
        }
    }
}

fn share(part: u64, all: u64) -> String {
    match all {
        0 => String::new(),
        _ => format!("{:.1} %", 100.0 * part as f64 / all as f64),
    }
}

fn charts(snapshot: &Snapshot) -> Markup {
    html! {
        (per_second(snapshot.minutes()).source("invocations"))
        (latencies(snapshot.minutes()).source("latency"))
    }
}

fn per_second(minutes: &[Minute]) -> Chart {
    let hour = super::chart::hour(minutes);
    let rates = |of: fn(&Minute) -> u64| {
        let rate = |minute: &Option<&Minute>| Some(minute.map_or(0.0, |minute| of(minute) as f64 / 60.0));
        hour.minutes.iter().map(rate).collect()
    };
    Chart {
        unit: "",
        at_s: hour.at_s.clone(),
        series: vec![
            Series { label: "invocations", colour: "--run", class: "", values: rates(|minute| minute.count) },
            Series { label: "errors", colour: "--bad", class: "bad", values: rates(|minute| minute.errors) },
        ],
    }
}

fn latencies(minutes: &[Minute]) -> Chart {
    let hour = super::chart::hour(minutes);
    let times = |of: fn(&Minute) -> u64| {
        let ms = |minute: &Option<&Minute>| minute.map(|minute| of(minute) as f64 / 1e3);
        hour.minutes.iter().map(ms).collect()
    };
    Chart {
        unit: " ms",
        at_s: hour.at_s.clone(),
        series: vec![
            Series { label: "median", colour: "--run", class: "", values: times(|minute| minute.p50_us) },
            Series {
                label: "p99",
                colour: "--queue",
                class: "second",
                values: times(|minute| minute.p99_us),
            },
        ],
    }
}
