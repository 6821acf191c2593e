//! What is wrong with the mesh, in words.

use super::failure::Failure;
use super::model::Worker;
use super::page::Section;
use super::parts::counted;
use super::snapshot::Snapshot;

/// From this share of the memory on, a worker has little left.
const LITTLE_MEMORY: f64 = 0.95;
/// From this share of errors on, the last minute is worth a look.
const MANY_ERRORS: f64 = 0.05;

/// Something that is wrong, and the page that shows it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// `bad`, or `warn`.
    pub(super) kind: &'static str,
    pub(super) words: String,
    pub(super) path: &'static str,
}

fn problem(kind: &'static str, words: impl Into<String>, section: Section) -> Problem {
    Problem { kind, words: words.into(), path: section.path() }
}

/// All that is wrong, the worst first.
pub(super) fn of(snapshot: &Snapshot) -> Vec<Problem> {
    let mut problems = Vec::new();
    let mut failed = |what: &str, failure: Option<&Failure>, section| {
        if let Some(failure) = failure {
            problems.push(problem("bad", format!("{what}: {}.", failure.message), section));
        }
    };
    failed("Functions cannot be read", snapshot.modules.as_ref().err(), Section::Functions);
    failed("Events and results cannot be counted", snapshot.books.as_ref().err(), Section::Bindings);
    failed("Events cannot be read", snapshot.events.as_ref().err(), Section::Bindings);
    failed("Sinks cannot be read", snapshot.sinks.as_ref().err(), Section::Bindings);
    if let Some(Err(failure)) = &snapshot.workers {
        failed("Workers cannot be read", Some(failure), Section::Workers);
    }
    of_workers(snapshot, &mut problems);
    of_bindings(snapshot, &mut problems);
    of_books(snapshot, &mut problems);
    of_invocations(snapshot, &mut problems);
    problems
}

fn of_workers(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let Some(Ok(workers)) = &snapshot.workers else { return };
    if workers.workers.is_empty() {
        problems.push(problem("bad", "There is no worker: nothing can run.", Section::Workers));
    }
    if let Some(why) = &workers.metrics_problem {
        problems.push(problem("warn", format!("Measurements: {why}."), Section::Workers));
    }
    for worker in &workers.workers {
        if worker.draining {
            let words = format!("The worker {} drains: it accepts no invocations.", worker.name);
            problems.push(problem("warn", words, Section::Workers));
        } else if used_memory(worker).is_some_and(|share| share > LITTLE_MEMORY) {
            let words = format!("The worker {} has little memory left.", worker.name);
            problems.push(problem("warn", words, Section::Workers));
        }
    }
}

/// The share of a worker's memory that is in use or reserved.
pub(super) fn used_memory(worker: &Worker) -> Option<f64> {
    let (total, available) = (worker.memory.total?, worker.memory.available?);
    (total > 0).then(|| 1.0 - available.min(total) as f64 / total as f64)
}

fn of_bindings(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let events = snapshot
        .events
        .iter()
        .flatten()
        .map(|event| ("event source", &event.module, &event.function, &event.state, &event.message));
    let sinks = snapshot
        .sinks
        .iter()
        .flatten()
        .map(|sink| ("sink", &sink.module, &sink.function, &sink.state, &sink.message));
    let away: Vec<_> = events.chain(sinks).filter(|(_, _, _, state, _)| *state != "connected").collect();
    let more = away.len().saturating_sub(3);
    for (what, module, function, state, message) in away.into_iter().take(3) {
        let kind = if state == "retrying" { "bad" } else { "warn" };
        let why = message.as_ref().map(|why| format!(": {why}")).unwrap_or_default();
        let words = format!("The {what} of {module}/{function} is {state}{why}.");
        problems.push(problem(kind, words, Section::Bindings));
    }
    if more > 0 {
        let words = format!("{more} more event sources or sinks are not connected.");
        problems.push(problem("warn", words, Section::Bindings));
    }
}

fn of_books(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let Ok(books) = &snapshot.books else { return };
    let (events, sinks) = (&books.events.sum, &books.sinks.sum);
    if events.drift != 0 || events.dead_letter_drift != 0 || sinks.drift != 0 {
        let words =
            "The counts of events and results do not add up, which is a bug: fl audit events says where.";
        problems.push(problem("bad", words, Section::Bindings));
    }
    let dead = events.counts.dead_letters + sinks.counts.dead;
    if dead > 0 {
        let verb = if dead == 1 { "waits" } else { "wait" };
        let words = format!("{} {verb} to be redriven or purged.", counted(dead, "dead letter"));
        problems.push(problem("warn", words, Section::DeadLetters));
    }
    if events.counts.lost > 0 {
        let lost = counted(events.counts.lost, "event");
        let words = format!("Lost, since the connector crashed and the source no longer has them: {lost}.");
        problems.push(problem("warn", words, Section::Bindings));
    }
}

fn of_invocations(snapshot: &Snapshot, problems: &mut Vec<Problem>) {
    let Ok(recent) = &snapshot.recent else { return };
    let Some(minute) = recent.minutes.last().filter(|minute| minute.count > 0) else { return };
    if minute.errors as f64 / minute.count as f64 > MANY_ERRORS {
        let words = format!(
            "{} of {} in the latest minute ended in an error.",
            minute.errors,
            counted(minute.count, "invocation")
        );
        problems.push(problem("warn", words, Section::Invocations));
    }
}
