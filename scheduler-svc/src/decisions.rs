//! Remembers the latest decisions, which can be explained. Pure: the time is an argument.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Instant;

use proto::registry::v1::Function;

use crate::invocation::Policy;
use crate::policy::Choice;

/// The most memory for the steps of all remembered decisions, in bytes.
const MAX_STEP_BYTES: usize = 32 << 20;

/// A ring of decisions.
#[derive(Debug)]
pub struct Decisions {
    /// The beginning of the ids of this scheduler's decisions.
    prefix: String,
    ring: VecDeque<Decision>,
    most: usize,
    /// The number of the oldest decision that is remembered.
    first: u64,
    step_bytes: usize,
    began: Instant,
}

/// One decision, with everything that explains it.
#[derive(Debug, Clone)]
pub struct Decision {
    /// What was invoked.
    pub function: Arc<Function>,
    /// The policy that chose the worker.
    pub policy: Policy,
    /// The workers' names, by the indices in the choice.
    pub names: Arc<[Arc<str>]>,
    /// The chosen worker, and how it was chosen.
    pub choice: Arc<Choice>,
    /// When it was made, as Unix time in milliseconds.
    pub at_ms: i64,
    /// When it was made.
    pub at: Instant,
    /// When the invocation ended.
    pub ended: Option<Instant>,
}

/// Names a decision of this scheduler.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecisionNumber(u64);

impl Decisions {
    /// Remembers at most `most` decisions of the scheduler with this id.
    pub fn new(scheduler_id: &str, most: usize, began: Instant) -> Self {
        // The random end of a UUID: enough to tell replicas and restarts apart.
        let prefix = scheduler_id.rsplit('-').next().unwrap_or(scheduler_id).to_owned();
        Self { prefix, ring: VecDeque::new(), most, first: 0, step_bytes: 0, began }
    }

    /// When this scheduler started.
    pub fn began(&self) -> Instant {
        self.began
    }

    /// Remembers a decision, and forgets the oldest ones beyond the limits.
    pub fn push(&mut self, decision: Decision) -> DecisionNumber {
        self.step_bytes += step_bytes(&decision);
        self.ring.push_back(decision);
        while self.ring.len() > self.most || (self.step_bytes > MAX_STEP_BYTES && self.ring.len() > 1) {
            let Some(oldest) = self.ring.pop_front() else { break };
            self.step_bytes -= step_bytes(&oldest);
            self.first += 1;
        }
        DecisionNumber(self.first + self.ring.len() as u64 - 1)
    }

    /// The invocation of a decision has ended.
    pub fn ended(&mut self, number: DecisionNumber, now: Instant) {
        let index = number.0.checked_sub(self.first).and_then(|index| usize::try_from(index).ok());
        if let Some(decision) = index.and_then(|index| self.ring.get_mut(index)) {
            decision.ended = Some(now);
        }
    }

    /// The id of a decision in the API.
    pub fn id(&self, number: DecisionNumber) -> String {
        format!("{}-{}", self.prefix, number.0)
    }

    /// The decision with this id, if it is remembered.
    pub fn find(&self, id: &str) -> Option<&Decision> {
        let (prefix, number) = id.rsplit_once('-')?;
        let number: u64 = number.parse().ok().filter(|_| prefix == self.prefix)?;
        self.ring.get(usize::try_from(number.checked_sub(self.first)?).ok()?)
    }

    /// The remembered decisions with their ids, oldest first.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (String, &Decision)> {
        (0..self.ring.len())
            .map(|index| (self.id(DecisionNumber(self.first + index as u64)), &self.ring[index]))
    }
}

fn step_bytes(decision: &Decision) -> usize {
    decision.choice.steps.bytes()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::policy::app::Script;
    use crate::policy::{Refusal, Steps};

    fn decision(function: &str, at: Instant) -> Decision {
        Decision {
            function: Arc::new(Function { name: function.into(), ..Function::default() }),
            policy: Policy { name: None, script: Arc::new(Script::platform()) },
            names: Arc::default(),
            choice: Arc::new(Choice { outcome: Err(Refusal::NoWorkers), steps: Steps::default() }),
            at_ms: 0,
            at,
            ended: None,
        }
    }

    #[test]
    fn the_latest_are_remembered() {
        let now = Instant::now();
        let mut decisions = Decisions::new("0190-abc", 2, now);
        let ids: Vec<_> = ["a", "b", "c"]
            .map(|name| {
                let number = decisions.push(decision(name, now));
                (decisions.id(number), number)
            })
            .into();
        assert_eq!(ids[0].0, "abc-0");
        let found = |id: &str| decisions.find(id).map(|decision| decision.function.name.clone());
        assert_eq!(found(&ids[0].0), None, "the oldest is forgotten");
        assert_eq!(found(&ids[1].0).as_deref(), Some("b"));
        assert_eq!(found(&ids[2].0).as_deref(), Some("c"));
        for unknown in ["", "abc", "abc-3", "abc-x", "other-2", "abc--1"] {
            assert_eq!(found(unknown), None, "{unknown:?}");
        }
        let listed: Vec<_> = decisions.iter().map(|(id, _)| id).collect();
        assert_eq!(listed, ["abc-1", "abc-2"]);
        let later = now + Duration::from_secs(1);
        ids.iter().for_each(|(_, number)| decisions.ended(*number, later));
        assert!(decisions.iter().all(|(_, decision)| decision.ended == Some(later)));
    }
}
