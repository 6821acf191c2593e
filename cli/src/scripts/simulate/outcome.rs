//! What was simulated, with where it was placed.

use std::fmt;

use anyhow::Context as _;
use serde::Deserialize;
use serde_json::{Value, json};

use super::input::{Invocation, Worker};
use super::summary::{self, Summary};
use super::units::{seconds, size, time};
use crate::table::Table;

/// Rows of a table of invocations, unless all are asked for.
const ROWS: usize = 50;
/// Where an invocation runs, or why nowhere.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// On the worker of this name.
    On(String),
    /// Nowhere, for this reason.
    Refused(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::On(worker) => formatter.write_str(worker),
            Self::Refused(refusal) => write!(formatter, "refused: {refusal}"),
        }
    }
}

/// The mesh's answer.
#[derive(Debug, Deserialize)]
pub struct Answer {
    placements: Vec<Placement>,
}

#[derive(Debug, Deserialize)]
struct Placement {
    invocation: usize,
    #[serde(default)]
    worker: String,
    #[serde(default)]
    refusal: String,
}

/// A simulation that was done.
#[derive(Debug)]
pub struct Outcome {
    pub workers: Vec<Worker>,
    /// In the order in which they were placed.
    pub placed: Vec<Placed>,
    /// When the last of them has ended, in nanoseconds. Those that do not end run until then.
    pub until_ns: u64,
}

/// An invocation and its place.
#[derive(Debug)]
pub struct Placed {
    /// Which one of the load, from 0.
    pub index: usize,
    pub invocation: Invocation,
    pub place: Place,
}

impl Placed {
    /// When it has ended, in nanoseconds.
    pub fn end_ns(&self, until_ns: u64) -> u64 {
        let Invocation { at_ns, duration_ns, .. } = &self.invocation;
        duration_ns.map_or(until_ns, |duration_ns| at_ns.saturating_add(duration_ns))
    }

    /// The memory that it reserves, in KB.
    pub fn capacity_kb(&self) -> u64 {
        match self.invocation.capacity_kb {
            0 => proto::DEFAULT_CAPACITY_KB,
            kb => kb,
        }
    }

    /// Whether it runs where it did. `None`: nobody has said where that was.
    pub fn agrees(&self) -> Option<bool> {
        self.invocation.recorded.as_ref().map(|recorded| *recorded == self.place)
    }
}

impl Outcome {
    /// The load where `answer` has placed it.
    pub fn new(workers: Vec<Worker>, load: Vec<Invocation>, answer: Answer) -> anyhow::Result<Self> {
        let ends = load
            .iter()
            .map(|invocation| invocation.at_ns.saturating_add(invocation.duration_ns.unwrap_or_default()));
        let until_ns = ends.max().unwrap_or_default();
        let mut load: Vec<_> = load.into_iter().map(Some).collect();
        let placed = |placement: Placement| {
            let Placement { invocation: index, worker, refusal } = placement;
            let invocation = load.get_mut(index).and_then(Option::take)?;
            let place = if worker.is_empty() { Place::Refused(refusal) } else { Place::On(worker) };
            Some(Placed { index, invocation, place })
        };
        let placed: Option<Vec<_>> = answer.placements.into_iter().map(placed).collect();
        let placed = placed.context("the answer places what was not asked for")?;
        Ok(Self { workers, placed, until_ns })
    }

    /// All of it for programs.
    pub fn to_json(&self) -> Value {
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
            "placements": self.placed.iter().map(placement).collect::<Vec<_>>(),
            "workers": summary::by_worker(self),
        });
        if let Some((agree, recorded)) = self.agreement() {
            shown["agreement"] = json!({ "recorded": recorded, "agree": agree });
        }
        shown
    }

    /// How many are placed where they really ran, and of how many that is known. `None`: of none.
    fn agreement(&self) -> Option<(usize, usize)> {
        let known: Vec<bool> = self.placed.iter().filter_map(Placed::agrees).collect();
        let agree = known.iter().filter(|agrees| **agrees).count();
        (!known.is_empty()).then_some((agree, known.len()))
    }

    /// For people: where each invocation runs, unless there are too many; what becomes of each worker; and
    /// what differs from what was recorded, of which at most `differing` are shown, unless `all` are.
    pub fn to_text(&self, all: bool, differing: usize) -> String {
        let mut parts = Vec::new();
        if all || self.placed.len() <= ROWS {
            parts.push(self.rows().to_string());
        } else {
            parts.push(format!("{} invocations; --all shows each of them\n", self.placed.len()));
        }
        parts.push(self.summary());
        if let Some((agree, recorded)) = self.agreement() {
            parts.push(format!("{agree} of {recorded} placements agree with the recorded ones\n"));
            parts.push(self.differences(if all { usize::MAX } else { differing }));
        }
        parts.retain(|part| !part.is_empty());
        parts.join("\n")
    }

    fn rows(&self) -> Table {
        let mut table = Table::new(&["AT", "FUNCTION", "TAG", "CAPACITY", "DURATION", "PLACE"]);
        for placed in &self.placed {
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

    fn summary(&self) -> String {
        let mut table = Table::new(&["WORKER", "MEMORY", "PLACED", "PEAK RUNNING", "PEAK RESERVED", "BUSY"]);
        for (summary, worker) in summary::by_worker(self).into_iter().zip(&self.workers) {
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
        let refused = summary::refused(self).into_iter();
        let refused: Vec<_> =
            refused.map(|(refusal, count)| format!("refused {count}: {refusal}\n")).collect();
        format!("{table}{}", refused.concat())
    }

    fn differences(&self, most: usize) -> String {
        let differ: Vec<_> = self.placed.iter().filter(|placed| placed.agrees() == Some(false)).collect();
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

#[cfg(test)]
pub(super) mod tests;
