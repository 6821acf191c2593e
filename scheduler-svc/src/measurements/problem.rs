//! Tracks what is wrong with the measurements, from one answer to the next. Pure.

use std::collections::HashMap;
use std::fmt;

use super::samples::Unusable;
use crate::cluster::Measured;

/// A new worker may lack samples in this many answers: it has to be scraped first.
const GRACE: u32 = 3;
/// The most workers that a message names.
const MAX_NAMED: usize = 5;

/// Tracks what is wrong with the measurements.
#[derive(Debug, Default)]
pub struct ProblemTracker {
    /// For each worker, how many answers may still lack its samples. None, once it had some.
    grace: HashMap<String, u32>,
    problem: Option<Problem>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// Prometheus does not answer, for this reason.
    Away(String),
    /// The answer lacks these workers, each with the reason, of so many.
    Unmeasured(Vec<(String, String)>, usize),
}

/// A worker's name, and what Prometheus has measured of it.
pub type WorkerMeasurement<'a> = (&'a str, Result<Measured, Unusable>);

/// What an answer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transition {
    /// A problem began, or became worse.
    Began,
    /// The problem ended.
    Ended,
    /// Nothing worth a log line.
    Same,
}

impl ProblemTracker {
    /// Takes an answer with what it has of each worker, or why there is no answer.
    pub fn update(&mut self, answer: Result<&[WorkerMeasurement<'_>], &str>) -> Transition {
        let problem = match answer {
            Err(reason) => Some(Problem::Away(reason.to_owned())),
            Ok(workers) => self.unmeasured(workers),
        };
        let transition = match (&self.problem, &problem) {
            (None, Some(_)) | (Some(Problem::Unmeasured(..)), Some(Problem::Away(_))) => Transition::Began,
            (Some(_), None) => Transition::Ended,
            _ => Transition::Same,
        };
        self.problem = problem;
        transition
    }

    /// The problem now.
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    fn unmeasured(&mut self, workers: &[WorkerMeasurement<'_>]) -> Option<Problem> {
        let mut before = std::mem::take(&mut self.grace);
        let mut unmeasured = Vec::new();
        for (worker, measured) in workers {
            let grace = before.remove(*worker).unwrap_or(GRACE);
            let grace = match measured {
                Ok(_) => 0,
                Err(unusable) => {
                    if grace == 0 {
                        unmeasured.push(((*worker).to_owned(), unusable.to_string()));
                    }
                    grace.saturating_sub(1)
                }
            };
            self.grace.insert((*worker).to_owned(), grace);
        }
        (!unmeasured.is_empty()).then_some(Problem::Unmeasured(unmeasured, workers.len()))
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Away(reason) => {
                write!(f, "Prometheus is away, so that the workers' own reports count: {reason}")
            }
            Self::Unmeasured(unmeasured, of) => {
                let count = unmeasured.len();
                write!(f, "Prometheus lacks {count} of {of} workers, whose own reports count: ")?;
                for (index, (worker, reason)) in unmeasured.iter().take(MAX_NAMED).enumerate() {
                    let comma = if index > 0 { ", " } else { "" };
                    write!(f, "{comma}{worker} ({reason})")?;
                }
                if count > MAX_NAMED { write!(f, ", and {} more", count - MAX_NAMED) } else { Ok(()) }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MEASURED: Result<Measured, Unusable> =
        Ok(Measured { memory_total: 1, memory_available: 1, memory_guests: 0, cpu_use: 0.0 });
    const MISSING: Result<Measured, Unusable> = Err(Unusable::Missing("m"));
    const OLD: Result<Measured, Unusable> = Err(Unusable::Old(20.0));

    fn words(tracker: &ProblemTracker) -> String {
        tracker.problem().map_or_else(String::new, ToString::to_string)
    }

    #[test]
    fn each_problem_begins_and_ends_once() {
        let good = [("v", MEASURED), ("w", MEASURED)];
        let bad = [("v", MEASURED), ("w", OLD)];
        let lacks_one = "Prometheus lacks 1 of 2 workers, whose own reports count: \
                         w (the latest sample is 20 s old)";
        let away = "Prometheus is away, so that the workers' own reports count: gone";
        let mut tracker = ProblemTracker::default();
        let steps: [(Result<&[_], &str>, Transition, &str); 10] = [
            (Ok(&good), Transition::Same, ""),
            (Err("gone"), Transition::Began, away),
            (Err("gone"), Transition::Same, away),
            (Ok(&good), Transition::Ended, ""),
            (Ok(&bad), Transition::Began, lacks_one),
            (Ok(&bad), Transition::Same, lacks_one),
            (Err("gone"), Transition::Began, away),
            (Ok(&bad), Transition::Same, lacks_one),
            (Ok(&[]), Transition::Ended, ""),
            (Ok(&good), Transition::Same, ""),
        ];
        for (step, (answer, transition, problem)) in steps.into_iter().enumerate() {
            assert_eq!(tracker.update(answer), transition, "step {step}");
            assert_eq!(words(&tracker), problem, "step {step}");
        }
    }

    #[test]
    fn a_new_worker_may_lack_samples_at_first() {
        let mut tracker = ProblemTracker::default();
        let (with, without) = ([("w", MEASURED)], [("w", MISSING)]);
        for _ in 0..GRACE {
            assert_eq!(tracker.update(Ok(&without)), Transition::Same);
        }
        assert_eq!(tracker.update(Ok(&without)), Transition::Began);
        assert_eq!(tracker.update(Ok(&with)), Transition::Ended);
        assert_eq!(tracker.update(Ok(&without)), Transition::Began, "it is no longer new");
        assert_eq!(tracker.update(Ok(&[])), Transition::Ended);
        assert_eq!(tracker.update(Ok(&without)), Transition::Same, "it is new again");
    }

    #[test]
    fn a_message_names_some_workers_and_counts_all() {
        let names: Vec<String> = (0..8).map(|number| format!("w{number}")).collect();
        let workers: Vec<_> = names.iter().map(|name| (&**name, MISSING)).collect();
        let mut tracker = ProblemTracker::default();
        for _ in 0..GRACE {
            tracker.update(Ok(&workers));
        }
        assert_eq!(tracker.update(Ok(&workers)), Transition::Began);
        let words = words(&tracker);
        assert!(words.starts_with("Prometheus lacks 8 of 8 workers"), "{words}");
        assert!(words.ends_with("w4 (no recent sample of m), and 3 more"), "{words}");
    }
}
