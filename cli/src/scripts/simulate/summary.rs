//! What becomes of each worker in a simulation.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use super::outcome::{Outcome, Placed};
use super::place::Place;

/// What becomes of a worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary<'a> {
    pub worker: &'a str,
    pub placed: usize,
    pub peak_running: usize,
    pub peak_reserved_kb: u64,
    /// For so long at least one invocation ran.
    pub busy_ns: u64,
}

/// Each worker, in the order given.
pub fn by_worker(outcome: &Outcome) -> Vec<Summary<'_>> {
    let mut placed: HashMap<&str, Vec<&Placed>> = HashMap::new();
    for one in &outcome.placed {
        if let Place::On(worker) = &one.place {
            placed.entry(worker).or_default().push(one);
        }
    }
    let names = outcome.workers.iter().map(|worker| worker.name.as_str());
    names.map(|name| of_worker(name, placed.get(name).map_or(&[], Vec::as_slice), outcome.until_ns)).collect()
}

/// `placed` is in order of time.
fn of_worker<'a>(worker: &'a str, placed: &[&Placed], until_ns: u64) -> Summary<'a> {
    let mut summary =
        Summary { worker, placed: placed.len(), peak_running: 0, peak_reserved_kb: 0, busy_ns: 0 };
    // What runs, by its end.
    let mut running: BTreeMap<(u64, usize), u64> = BTreeMap::new();
    let mut reserved_kb = 0_u64;
    let mut busy_until = 0;
    for one in placed {
        let (begin, end) = (one.invocation.at_ns, one.end_ns(until_ns));
        while let Some(ended) = running.first_entry().filter(|first| first.key().0 <= begin) {
            reserved_kb = reserved_kb.saturating_sub(ended.remove());
        }
        running.insert((end, one.index), one.capacity_kb());
        reserved_kb = reserved_kb.saturating_add(one.capacity_kb());
        summary.peak_running = summary.peak_running.max(running.len());
        summary.peak_reserved_kb = summary.peak_reserved_kb.max(reserved_kb);
        summary.busy_ns += end.saturating_sub(begin.max(busy_until));
        busy_until = busy_until.max(end);
    }
    summary
}

/// How many were refused, by reason.
pub fn refused(outcome: &Outcome) -> BTreeMap<&str, usize> {
    let mut refused = BTreeMap::new();
    for placed in &outcome.placed {
        if let Place::Refused(refusal) = &placed.place {
            *refused.entry(refusal.as_str()).or_default() += 1;
        }
    }
    refused
}
