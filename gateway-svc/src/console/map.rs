//! The mesh as a drawing: services and what passes between them.

use maud::{Markup, html};
use mesh::clock::now_ms;

use super::model::Worker;
use super::parts::{count, counted, duration, rate};
use super::snapshot::{Rates, Snapshot, recent_rate};

/// The size of a node.
const NODE: (i32, i32) = (150, 50);
/// More workers than this share a node.
const MAX_WORKERS: usize = 4;

struct Node {
    /// The centre.
    at: (i32, i32),
    name: String,
    words: String,
    kind: &'static str,
}

struct Edge {
    from: (i32, i32),
    to: (i32, i32),
    words: String,
    kind: &'static str,
}

const CLIENTS: (i32, i32) = (85, 120);
const GATEWAY: (i32, i32) = (315, 120);
const SCHEDULER: (i32, i32) = (545, 120);
const WORKERS: (i32, i32) = (790, 120);
const REGISTRY: (i32, i32) = (430, 30);
const SOURCES: (i32, i32) = (85, 290);
const CONNECTOR: (i32, i32) = (315, 290);
const SINK: (i32, i32) = (545, 290);
const STORES: (i32, i32) = (790, 290);

/// The drawing, and the same in words for narrow screens and those who do not see it.
pub(super) fn map(snapshot: &Snapshot, rates: Option<Rates>) -> Markup {
    let nodes = nodes(snapshot);
    let edges = edges(snapshot, rates);
    html! {
        svg.map viewBox="0 0 880 340" aria-hidden="true" {
            defs {
                marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto-start-reverse" {
                    path.head d="M0 0 8 4 0 8z" {}
                }
            }
            @for edge in &edges { (drawn_edge(edge)) }
            @for node in &nodes { (drawn_node(node)) }
            @for edge in &edges {
                @let (x, y) = middle(edge);
                text class={ "rate " (edge.kind) } x=(x) y=(y - 6) text-anchor="middle" { (edge.words) }
            }
        }
        dl.facts.as-list {
            @for node in &nodes { div { dt { (node.name) } dd { (node.words) } } }
        }
    }
}

fn middle(edge: &Edge) -> (i32, i32) {
    ((edge.from.0 + edge.to.0) / 2, (edge.from.1 + edge.to.1) / 2)
}

fn drawn_edge(edge: &Edge) -> Markup {
    html! {
        line class={ "edge " (edge.kind) } x1=(edge.from.0) y1=(edge.from.1) x2=(edge.to.0) y2=(edge.to.1) marker-end="url(#head)" {}
    }
}

fn drawn_node(node: &Node) -> Markup {
    let (x, y) = node.at;
    let (width, height) = NODE;
    html! {
        rect class={ "node " (node.kind) } x=(x - width / 2) y=(y - height / 2) width=(width) height=(height) rx="8" {}
        text x=(x) y=(y - 3) text-anchor="middle" { (node.name) }
        text.small x=(x) y=(y + 14) text-anchor="middle" { (shortened(&node.words)) }
    }
}

/// As much of a text as fits into a node.
fn shortened(text: &str) -> String {
    match text.char_indices().nth(24) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_owned(),
    }
}

fn nodes(snapshot: &Snapshot) -> Vec<Node> {
    let node = |at, name: &str, words: String, is_away: bool| Node {
        at,
        name: name.to_owned(),
        words: if is_away { "does not answer".to_owned() } else { words },
        kind: if is_away { "bad" } else { "" },
    };
    let events = snapshot.events.as_ref().map(Vec::as_slice).unwrap_or_default();
    let sinks = snapshot.sinks.as_ref().map(Vec::as_slice).unwrap_or_default();
    let connected =
        |states: &mut dyn Iterator<Item = &String>| states.filter(|state| *state == "connected").count();
    let events_up = connected(&mut events.iter().map(|event| &event.state));
    let sinks_up = connected(&mut sinks.iter().map(|sink| &sink.state));
    // The message names the service that does not answer.
    let is_away =
        |service: &str| snapshot.books.as_ref().is_err_and(|failure| failure.message.contains(service));
    let modules = snapshot.modules.as_ref().map_or(0, Vec::len) as u64;
    let mut nodes = vec![
        node(CLIENTS, "clients", "REST".to_owned(), false),
        node(GATEWAY, "gateway", "this one".to_owned(), false),
        node(REGISTRY, "registry", counted(modules, "module"), snapshot.modules.is_err()),
        node(
            SCHEDULER,
            "scheduler",
            "places invocations".to_owned(),
            matches!(snapshot.workers, Some(Err(_))),
        ),
        node(SOURCES, "event sources", format!("{events_up} of {} connected", events.len()), false),
        node(CONNECTOR, "connector", counted(events.len() as u64, "event source"), is_away("connector")),
        node(SINK, "sink", counted(sinks.len() as u64, "sink"), is_away("sink service")),
        node(STORES, "stores", format!("{sinks_up} of {} connected", sinks.len()), false),
    ];
    for (place, up, all) in [(4, events_up, events.len()), (7, sinks_up, sinks.len())] {
        if up < all {
            nodes[place].kind = "warn";
        }
    }
    nodes.extend(workers(snapshot));
    nodes
}

fn workers(snapshot: &Snapshot) -> Vec<Node> {
    let unknown = |words: &str, kind| {
        vec![Node { at: WORKERS, name: "workers".to_owned(), words: words.to_owned(), kind }]
    };
    let workers = match &snapshot.workers {
        None => return unknown("for administrators", ""),
        Some(Err(_)) => return unknown("unknown", "bad"),
        Some(Ok(workers)) => &workers.workers,
    };
    if workers.is_empty() {
        return unknown("none", "bad");
    }
    if workers.len() > MAX_WORKERS {
        let running: u64 = workers.iter().map(|worker| u64::from(worker.running)).sum();
        let draining = workers.iter().any(|worker| worker.draining);
        let kind = if draining { "warn" } else { "" };
        let name = counted(workers.len() as u64, "worker");
        return vec![Node { at: WORKERS, name, words: format!("{} running", count(running)), kind }];
    }
    let top = WORKERS.1 - 28 * (workers.len() as i32 - 1);
    let one = |(place, worker): (usize, &Worker)| Node {
        at: (WORKERS.0, top + 56 * place as i32),
        name: worker.name.clone(),
        words: match worker.draining {
            true => "draining".to_owned(),
            false => format!("{} running, CPU {:.0} %", worker.running, 100.0 * worker.cpu_use),
        },
        kind: if worker.draining { "warn" } else { "" },
    };
    workers.iter().enumerate().map(one).collect()
}

/// The point at a side of a node: -1 is left, 1 is right.
fn side(node: (i32, i32), side: i32) -> (i32, i32) {
    (node.0 + side * (NODE.0 / 2 + 3), node.1)
}

fn edges(snapshot: &Snapshot, rates: Option<Rates>) -> Vec<Edge> {
    let minutes = snapshot.recent.as_ref().map(|recent| recent.minutes.as_slice()).unwrap_or_default();
    let latest = minutes.last();
    let (errors, p50) = latest.map_or((0, 0), |minute| (minute.errors, minute.p50_us));
    let invocations = recent_rate(minutes, now_ms());
    let books = snapshot.books.as_ref().ok();
    let (in_flight, pending) =
        books.map_or((0, 0), |books| (books.events.sum.counts.in_flight, books.sinks.sum.counts.pending));
    let known = |per_second: Option<f64>| per_second.map(rate).unwrap_or_default();
    let busy = |is_busy: bool| if is_busy { "busy" } else { "" };
    let running: u32 = match &snapshot.workers {
        Some(Ok(workers)) => workers.workers.iter().map(|worker| worker.running).sum(),
        _ => 0,
    };
    let edge = |from, to, words: String, kind| Edge { from, to, words, kind };
    let along = |from, to, words, kind| edge(side(from, 1), side(to, -1), words, kind);
    let (bottom, top) = (NODE.1 / 2 + 3, -(NODE.1 / 2 + 3));
    let failing = if errors > 0 { format!(", {}", counted(errors, "error")) } else { String::new() };
    vec![
        along(CLIENTS, GATEWAY, rate(invocations), busy(invocations > 0.0)),
        along(
            GATEWAY,
            SCHEDULER,
            format!("{}{failing}", if p50 > 0 { duration(p50) } else { String::new() }),
            if errors > 0 { "bad" } else { busy(invocations > 0.0) },
        ),
        along(SCHEDULER, WORKERS, format!("{running} running"), busy(running > 0)),
        edge((GATEWAY.0 + 20, GATEWAY.1 + top), (REGISTRY.0 - 45, REGISTRY.1 + bottom), String::new(), ""),
        edge(
            (SCHEDULER.0 - 20, SCHEDULER.1 + top),
            (REGISTRY.0 + 45, REGISTRY.1 + bottom),
            String::new(),
            "",
        ),
        along(
            SOURCES,
            CONNECTOR,
            known(rates.map(|rates| rates.received)),
            busy(rates.is_some_and(|rates| rates.received > 0.0)),
        ),
        edge(
            (CONNECTOR.0 + 55, CONNECTOR.1 + top),
            (SCHEDULER.0 - 55, SCHEDULER.1 + bottom),
            format!("{in_flight} in flight"),
            busy(in_flight > 0),
        ),
        edge(
            (SCHEDULER.0, SCHEDULER.1 + bottom),
            (SINK.0, SINK.1 + top),
            known(rates.map(|rates| rates.accepted)),
            busy(rates.is_some_and(|rates| rates.accepted > 0.0)),
        ),
        along(
            SINK,
            STORES,
            format!("{} {pending} pending", known(rates.map(|rates| rates.delivered))),
            busy(pending > 0),
        ),
    ]
}
