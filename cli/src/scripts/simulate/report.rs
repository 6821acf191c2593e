//! An outcome, for people and for programs.

use serde_json::{Value, json};

use super::input::Invocation;
use super::outcome::{Outcome, Placed};
use super::place::Place;
use super::summary::{self, Summary};
use super::units::{seconds, size, time};
use crate::table::Table;

/// Rows of a table of invocations, unless all are asked for.
const ROWS: usize = 50;

/// All of it for programs.
pub fn json(outcome: &Outcome) -> Value {
    let placement = |placed: &Placed| {
        let (worker, refusal) = words(&placed.place);
        let Invocation { at_ns, tag, function, duration_ns, .. } = &placed.invocation;
        let mut shown = json!({
            "invocation": placed.index,
            "at_ns": at_ns,
            "function": function,
            "tag": tag,
            "capacity_kb": placed.capacity_kb(),
            "duration_ns": duration_ns,
            "worker": worker,
            "refusal": refusal,
        });
        if let Some(recorded) = &placed.invocation.recorded {
            let (worker, refusal) = words(recorded);
            shown["recorded"] = json!({ "worker": worker, "refusal": refusal });
        }
        shown
    };
    let mut shown = json!({
        "placements": outcome.placed.iter().map(placement).collect::<Vec<_>>(),
        "workers": summary::by_worker(outcome),
    });
    if let Some((agree, recorded)) = outcome.agreement() {
        shown["agreement"] = json!({ "recorded": recorded, "agree": agree });
    }
    shown
}

/// For people: where each invocation runs, unless there are too many; what becomes of each worker; and
/// what differs from what was recorded, of which at most `differing` are shown, unless `all` are.
pub fn text(outcome: &Outcome, all: bool, differing: usize) -> String {
    let mut parts = Vec::new();
    if all || outcome.placed.len() <= ROWS {
        parts.push(rows(outcome).to_string());
    } else {
        parts.push(format!("{} invocations; --all shows each of them\n", outcome.placed.len()));
    }
    parts.push(worker_table(outcome));
    if let Some((agree, recorded)) = outcome.agreement() {
        parts.push(format!("{agree} of {recorded} placements agree with the recorded ones\n"));
        parts.push(differences(outcome, if all { usize::MAX } else { differing }));
    }
    parts.retain(|part| !part.is_empty());
    parts.join("\n")
}

fn rows(outcome: &Outcome) -> Table {
    let mut table = Table::new(&["AT", "FUNCTION", "TAG", "CAPACITY", "DURATION", "PLACE"]);
    for placed in &outcome.placed {
        let Invocation { at_ns, function, tag, duration_ns, .. } = &placed.invocation;
        table.row([
            seconds(*at_ns),
            or_dash(function),
            or_dash(tag),
            size(placed.capacity_kb()),
            duration_ns.map_or_else(|| "-".to_owned(), time),
            placed.place.to_string(),
        ]);
    }
    table
}

fn worker_table(outcome: &Outcome) -> String {
    let mut table = Table::new(&["WORKER", "MEMORY", "PLACED", "PEAK RUNNING", "PEAK RESERVED", "BUSY"]);
    for (summary, worker) in summary::by_worker(outcome).into_iter().zip(&outcome.workers) {
        let Summary { worker: name, placed, peak_running, peak_reserved_kb, busy_ns } = summary;
        let memory = match worker.memory_available.unwrap_or(worker.memory_total) {
            0 if worker.memory_total == 0 => "-".to_owned(),
            bytes => size(bytes >> 10),
        };
        let peak = size(peak_reserved_kb);
        table.row([
            name.to_owned(),
            memory,
            placed.to_string(),
            peak_running.to_string(),
            peak,
            time(busy_ns),
        ]);
    }
    let refused = summary::refused(outcome).into_iter();
    let refused: Vec<_> = refused.map(|(refusal, count)| format!("refused {count}: {refusal}\n")).collect();
    format!("{table}{}", refused.concat())
}

fn differences(outcome: &Outcome, most: usize) -> String {
    let differ: Vec<_> = outcome.placed.iter().filter(|placed| placed.agrees() == Some(false)).collect();
    let mut table = Table::new(&["NUMBER", "AT", "FUNCTION", "TAG", "RECORDED", "SIMULATED"]);
    for placed in differ.iter().take(most) {
        let Invocation { at_ns, function, tag, recorded, .. } = &placed.invocation;
        table.row([
            (placed.index + 1).to_string(),
            seconds(*at_ns),
            or_dash(function),
            or_dash(tag),
            recorded.as_ref().map(Place::to_string).unwrap_or_default(),
            placed.place.to_string(),
        ]);
    }
    match differ.len().saturating_sub(most) {
        0 => table.to_string(),
        more => format!("{table}and {more} more; --all shows each of them\n"),
    }
}

/// The worker and the refusal, one of which is empty.
fn words(place: &Place) -> (&str, &str) {
    match place {
        Place::On(worker) => (worker, ""),
        Place::Refused(refusal) => ("", refusal),
    }
}

fn or_dash(text: &str) -> String {
    if text.is_empty() { "-".to_owned() } else { text.to_owned() }
}
