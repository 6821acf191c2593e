//! What callers saw, as tables.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::{Duration, Instant};

use serde_json::Value;

use super::Outage;
use super::calls::{Call, CallKind};

/// What callers saw in all outages.
#[derive(Debug)]
pub struct Report {
    /// One for each outage, and the first one for the time in which nothing was away.
    pub rows: Vec<Row>,
    /// The successful invocations whose results are not in the store.
    pub missing_results: usize,
    /// The mesh's sums of all events and results.
    pub sums: Value,
}

/// What callers saw in one outage.
#[derive(Debug)]
pub struct Row {
    /// What was away.
    pub part: &'static str,
    /// How long it took from its start until it was ready.
    pub ready: Duration,
    /// By kind.
    pub calls: Vec<CallRow>,
    /// What happened to the events.
    pub events: EventRow,
}

/// The calls of one kind in one outage.
#[derive(Debug)]
pub struct CallRow {
    /// The kind.
    pub kind: CallKind,
    /// The number of calls.
    pub made: usize,
    /// How many of them failed, by status and message.
    pub failures: BTreeMap<String, usize>,
    /// The duration of the longest call.
    pub longest: Duration,
    /// The duration of the longest of the calls that failed.
    pub longest_failure: Duration,
    /// The 99th percentile of the durations.
    pub p99: Duration,
    /// How long after the start of the part the last call was sent that failed.
    pub failing: Duration,
}

/// The events of one outage.
#[derive(Debug)]
pub struct EventRow {
    /// The number of published messages.
    pub published: usize,
    /// How many of them have a document.
    pub delivered: usize,
    /// The number of further documents of the same messages.
    pub doubled: usize,
    /// Events and results that became dead letters.
    pub dead_letters: u64,
    /// How long it took from the start of the part until the store had the results of all messages that had been
    /// published before.
    pub caught_up: Duration,
}

impl CallRow {
    /// The number of calls that failed.
    pub fn failed(&self) -> usize {
        self.failures.values().sum()
    }
}

/// The row of one outage. `published` has the time of each message, `ids` those in the store, sorted.
pub(super) fn row(outage: &Outage, calls: &[Call], published: &[Instant], ids: &[u32]) -> Row {
    let is_during = |at: &Instant| (outage.began..outage.ended).contains(at);
    let during: Vec<_> = calls.iter().filter(|call| is_during(&call.sent)).collect();
    let calls = CallKind::ALL.map(|kind| call_row(kind, outage, &during)).into();
    let expected: BTreeSet<_> =
        (0..).zip(published).filter(|(_, at)| is_during(at)).map(|(id, _)| id).collect();
    let found: Vec<u32> = ids.iter().copied().filter(|id| expected.contains(id)).collect();
    let delivered = found.iter().collect::<BTreeSet<_>>().len();
    let events = EventRow {
        published: expected.len(),
        delivered,
        doubled: found.len() - delivered,
        dead_letters: outage.dead_letters,
        caught_up: outage.caught_up - outage.over,
    };
    Row { part: outage.part, ready: outage.ready - outage.over, calls, events }
}

fn call_row(kind: CallKind, outage: &Outage, calls: &[&Call]) -> CallRow {
    let calls: Vec<_> = calls.iter().filter(|call| call.kind == kind).collect();
    let mut failures = BTreeMap::new();
    for failure in calls.iter().filter_map(|call| call.failure.clone()) {
        *failures.entry(failure).or_default() += 1;
    }
    let mut durations: Vec<_> = calls.iter().map(|call| call.took).collect();
    durations.sort_unstable();
    let failed = || calls.iter().filter(|call| call.failure.is_some());
    let last_failed = failed().map(|call| call.sent).max();
    CallRow {
        kind,
        made: calls.len(),
        failures,
        longest: durations.last().copied().unwrap_or_default(),
        longest_failure: failed().map(|call| call.took).max().unwrap_or_default(),
        p99: durations.get(durations.len() * 99 / 100).copied().unwrap_or_default(),
        failing: last_failed.map_or(Duration::ZERO, |sent| sent.saturating_duration_since(outage.over)),
    }
}

/// The number of successful invocations with a sink that are not in `ids`.
pub(super) fn missing_results(calls: &[Call], ids: &[u32]) -> usize {
    let calls = calls.iter().filter(|call| call.kind == CallKind::InvokeWithSink && call.failure.is_none());
    calls.filter(|call| ids.binary_search(&call.number).is_err()).count()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "| away | calls | made | failed | longest | longest failed | p99 | failing after its start |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for row in &self.rows {
            for calls in &row.calls {
                write!(f, "| {} | {} | {} | ", row.part, calls.kind.as_str(), calls.made)?;
                write!(f, "{} | {} | ", calls.failed(), seconds(calls.longest))?;
                let (longest_failed, failing) = match calls.failed() {
                    0 => ("-".to_owned(), "-".to_owned()),
                    _ => (seconds(calls.longest_failure), seconds(calls.failing)),
                };
                writeln!(f, "{longest_failed} | {} | {failing} |", seconds(calls.p99))?;
            }
        }
        writeln!(
            f,
            "\n| away | ready after | events | delivered | lost | doubled | dead letters | caught up after |"
        )?;
        writeln!(f, "|---|---|---|---|---|---|---|---|")?;
        for Row { part, ready, events, .. } in &self.rows {
            let EventRow { published, delivered, doubled, dead_letters, caught_up } = events;
            write!(f, "| {part} | {} | {published} | {delivered} | ", seconds(*ready))?;
            let lost = published - delivered;
            writeln!(f, "{lost} | {doubled} | {dead_letters} | {} |", seconds(*caught_up))?;
        }
        writeln!(f, "\n| away | calls | failed | status and message |\n|---|---|---|---|")?;
        for row in &self.rows {
            for calls in &row.calls {
                for (failure, count) in &calls.failures {
                    writeln!(f, "| {} | {} | {count} | {failure} |", row.part, calls.kind.as_str())?;
                }
            }
        }
        write!(
            f,
            "\nSuccessful invocations whose results are missing: {}\nSums: {}",
            self.missing_results, self.sums
        )
    }
}

fn seconds(duration: Duration) -> String {
    format!("{:.2} s", duration.as_secs_f64())
}
