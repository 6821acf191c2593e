//! What is wrong with the measurements, and when that begins and ends. Pure.

use std::collections::HashMap;
use std::fmt;

use super::samples::Unusable;
use crate::cluster::Measured;

/// So often there may be no samples of a new worker: it has to be scraped first.
const PATIENCE: u32 = 3;
/// So many workers are named.
const MAX_NAMED: usize = 5;

/// Follows what is wrong, from one answer to the next.
#[derive(Debug, Default)]
pub struct Judge {
    /// For each worker, how often it may still be without samples. One that had some may not at all.
    patience: HashMap<String, u32>,
    problem: Option<Problem>,
}

/// What is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Problem {
    /// There is no answer, for this reason.
    Away(String),
    /// The answer has nothing of these workers, of so many.
    Unmeasured(Vec<(String, String)>, usize),
}

/// What an answer says of a worker: its name, and what was measured.
pub type Said<'a> = (&'a str, Result<Measured, Unusable>);

/// What an answer changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Turn {
    /// There is a problem that there was not, or a worse one.
    Began,
    /// There is none any more.
    Ended,
    /// Nothing that is worth a word.
    Same,
}

impl Judge {
    /// Judges an answer: what it says of each worker that is in, or why there is none.
    pub fn judge(&mut self, answer: Result<&[Said<'_>], &str>) -> Turn {
        let problem = match answer {
            Err(reason) => Some(Problem::Away(reason.to_owned())),
            Ok(workers) => self.unmeasured(workers),
        };
        let turn = match (&self.problem, &problem) {
            (None, Some(_)) | (Some(Problem::Unmeasured(..)), Some(Problem::Away(_))) => Turn::Began,
            (Some(_), None) => Turn::Ended,
            _ => Turn::Same,
        };
        self.problem = problem;
        turn
    }

    /// What is wrong now.
    pub fn problem(&self) -> Option<&Problem> {
        self.problem.as_ref()
    }

    fn unmeasured(&mut self, workers: &[Said<'_>]) -> Option<Problem> {
        let mut before = std::mem::take(&mut self.patience);
        let mut unmeasured = Vec::new();
        for (worker, measured) in workers {
            let patience = before.remove(*worker).unwrap_or(PATIENCE);
            let patience = match measured {
                Ok(_) => 0,
                Err(unusable) => {
                    if patience == 0 {
                        unmeasured.push(((*worker).to_owned(), unusable.to_string()));
                    }
                    patience.saturating_sub(1)
                }
            };
            self.patience.insert((*worker).to_owned(), patience);
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

    fn said(judge: &Judge) -> String {
        judge.problem().map_or_else(String::new, ToString::to_string)
    }

    #[test]
    fn each_problem_begins_and_ends_once() {
        let good = [("v", MEASURED), ("w", MEASURED)];
        let bad = [("v", MEASURED), ("w", OLD)];
        let lacks_one = "Prometheus lacks 1 of 2 workers, whose own reports count: \
                         w (the latest sample is 20 s old)";
        let away = "Prometheus is away, so that the workers' own reports count: gone";
        let mut judge = Judge::default();
        let steps: [(Result<&[_], &str>, Turn, &str); 10] = [
            (Ok(&good), Turn::Same, ""),
            (Err("gone"), Turn::Began, away),
            (Err("gone"), Turn::Same, away),
            (Ok(&good), Turn::Ended, ""),
            (Ok(&bad), Turn::Began, lacks_one),
            (Ok(&bad), Turn::Same, lacks_one),
            (Err("gone"), Turn::Began, away),
            (Ok(&bad), Turn::Same, lacks_one),
            (Ok(&[]), Turn::Ended, ""),
            (Ok(&good), Turn::Same, ""),
        ];
        for (step, (answer, turn, problem)) in steps.into_iter().enumerate() {
            assert_eq!(judge.judge(answer), turn, "step {step}");
            assert_eq!(said(&judge), problem, "step {step}");
        }
    }

    #[test]
    fn a_new_worker_is_scraped_first() {
        let mut judge = Judge::default();
        let (with, without) = ([("w", MEASURED)], [("w", MISSING)]);
        for _ in 0..PATIENCE {
            assert_eq!(judge.judge(Ok(&without)), Turn::Same);
        }
        assert_eq!(judge.judge(Ok(&without)), Turn::Began);
        assert_eq!(judge.judge(Ok(&with)), Turn::Ended);
        assert_eq!(judge.judge(Ok(&without)), Turn::Began, "it is not new any more");
        assert_eq!(judge.judge(Ok(&[])), Turn::Ended);
        assert_eq!(judge.judge(Ok(&without)), Turn::Same, "it is new again");
    }

    #[test]
    fn some_are_named_and_all_are_counted() {
        let names: Vec<String> = (0..8).map(|number| format!("w{number}")).collect();
        let workers: Vec<_> = names.iter().map(|name| (&**name, MISSING)).collect();
        let mut judge = Judge::default();
        for _ in 0..PATIENCE {
            judge.judge(Ok(&workers));
        }
        assert_eq!(judge.judge(Ok(&workers)), Turn::Began);
        let said = said(&judge);
        assert!(said.starts_with("Prometheus lacks 8 of 8 workers"), "{said}");
        assert!(said.ends_with("w4 (no recent sample of m), and 3 more"), "{said}");
    }
}
