use std::time::Instant;

use proptest::prelude::*;
use proto::registry::v1::{Code, Function, Metadata};
use proto::scheduler::v1::{Report, RunningWork, WorkerIdentity, WorkerLoad};
use rand::SeedableRng as _;
use rand::rngs::Xoshiro256PlusPlus;

use super::*;
use crate::cluster::{Cluster, Measured, Reservation};
use crate::decisions::{DecisionNumber, Decisions};
use crate::policy::app::Script;
use crate::policy::testing::{CODE, chosen_among};
use crate::policy::{KB, PastWorkers, Step, arbitrary, oracle, steps};
use crate::{PendingInvocation, Policy, decide};

const TAGS: [&str; 4] = ["x", "y", "z", ""];
const REMEMBERED: usize = 20;

/// A cluster at work, and what was true of each decision when it was made.
struct Work {
    cluster: Cluster<()>,
    decisions: Decisions,
    expected: Vec<(DecisionNumber, Vec<WorkerStatus>, Vec<Step>)>,
    running: Vec<Reservation>,
    script: Arc<Script>,
    rng: Xoshiro256PlusPlus,
    now: Instant,
}

impl Work {
    fn new(script: Script, seed: u64) -> Self {
        let now = Instant::now();
        Self {
            cluster: Cluster::new("me".into()),
            decisions: Decisions::new("me", REMEMBERED, now),
            expected: Vec::new(),
            running: Vec::new(),
            script: Arc::new(script),
            rng: Xoshiro256PlusPlus::seed_from_u64(seed),
            now,
        }
    }

    fn random_report(&mut self) -> Report {
        let rng = &mut self.rng;
        let memory_total = [0, 100, 100, 200][rng.random_range(0..4)] * KB;
        let work = (0..rng.random_range(0..3)).map(|_| RunningWork {
            scheduler_id: "another".into(),
            tag: TAGS[rng.random_range(0..TAGS.len())].into(),
            running: rng.random_range(1..3),
            capacity_kb: rng.random_range(0..20),
        });
        let work = work.collect();
        let memory_available = memory_total.saturating_sub(rng.random_range(0..3) * 10 * KB);
        let load = WorkerLoad { memory_total, memory_available, work, ..WorkerLoad::default() };
        let code_ready = rng.random_bool(0.3).then_some(CODE).into_iter().collect();
        Report { load: Some(load), draining: rng.random_bool(0.1), code_ready, ..Report::default() }
    }

    /// One of those who have joined.
    fn member(&mut self) -> Option<(Arc<str>, SessionId)> {
        let members = self.cluster.member_list();
        let index = (!members.names.is_empty()).then(|| self.rng.random_range(0..members.names.len()))?;
        Some((Arc::clone(&members.names[index]), members.sessions[index]))
    }

    fn turn(&mut self) {
        match self.rng.random_range(0..20) {
            0 | 1 => {
                let name = ["a", "b", "c", "d", "e", "f", "g"][self.rng.random_range(0..7)].to_owned();
                let report = self.random_report();
                let identity = WorkerIdentity { id: name.clone(), name, ..WorkerIdentity::default() };
                self.cluster.join(identity, report, (), self.now);
            }
            2 => {
                let Some((name, session)) = self.member() else { return };
                assert!(self.cluster.leave(&name, session).is_some());
            }
            3..=7 => {
                let Some((name, session)) = self.member() else { return };
                let report = self.random_report();
                assert!(self.cluster.report(&name, session, report, self.now));
            }
            8 => {
                let Some((name, _)) = self.member() else { return };
                let memory_available = self.rng.random_range(0..100) * KB;
                let measured =
                    Measured { memory_total: 100 * KB, memory_available, memory_guests: 0, cpu_use: 0.0 };
                let measured = self.rng.random_bool(0.7).then_some(measured);
                assert!(self.cluster.measured(&name, measured));
            }
            9..=12 if !self.running.is_empty() => {
                let reservation = self.running.swap_remove(self.rng.random_range(0..self.running.len()));
                self.cluster.release(&reservation);
            }
            _ => self.decide(),
        }
    }

    /// Makes a decision as dispatch does, and reserves what it says.
    fn decide(&mut self) {
        let metadata = Metadata {
            tag: TAGS[self.rng.random_range(0..TAGS.len())].into(),
            capacity_kb: self.rng.random_range(1..40),
            ..Metadata::default()
        };
        let code = Some(Code { hash: CODE, ..Code::default() });
        let function = Function { code, metadata: Some(metadata), ..Function::default() };
        let policy = Policy { name: Some("s".into()), script: Arc::clone(&self.script) };
        let invocation = PendingInvocation { function: Arc::new(function), policy };
        let required = invocation.requirements();
        let tried = match self.rng.random_range(0..5) {
            0 => vec!["a".to_owned()],
            _ => Vec::new(),
        };
        let (mut rng_of_scan, mut rng_anew) = (self.rng.clone(), self.rng.clone());
        let decision = decide(&invocation, &self.cluster, &tried, &mut self.rng);
        let workers = self.cluster.workers();
        let (expected, steps) = oracle(&self.script, &required, workers, &tried, &mut rng_of_scan);
        assert_eq!(decision.choice, expected);
        assert_eq!(chosen_among(workers, &self.script, &required, &tried, &mut rng_anew), expected);
        assert_eq!(self.rng, rng_of_scan);
        let statuses = workers.iter().map(Worker::status).collect();
        let number = self.decisions.push(decision, self.cluster.history_mut());
        self.expected.push((number, statuses, steps));
        if let Ok(index) = expected.outcome {
            self.running.push(self.cluster.reserve(index, required.tag, required.capacity).0);
        }
    }

    /// The remembered decisions are explained by the steps that were made.
    fn check(&self) {
        let mut found = 0;
        for (number, statuses, expected) in &self.expected {
            let Some(decision) = self.decisions.find(&self.decisions.id(*number)) else { continue };
            found += 1;
            let recollection = self.cluster.recollect(decision.version).expect("it is remembered");
            let past = recollection.statuses(&decision.members);
            let names = &decision.members.names;
            assert_eq!(sorted(&past), sorted(statuses), "{names:?}");
            let required = crate::invocation::capacity_kb_of(&decision.function) * KB;
            let tag = crate::invocation::tag_of(&decision.function);
            let workers = PastWorkers { names, statuses: &past };
            let steps = steps(&self.script, tag, required, workers, &decision.tried, &decision.choice);
            assert_eq!(&steps, expected);
        }
        assert_eq!(found, self.expected.len().min(REMEMBERED));
    }
}

/// With the tags in order.
fn sorted(statuses: &[WorkerStatus]) -> Vec<WorkerStatus> {
    let mut statuses = statuses.to_vec();
    for status in &mut statuses {
        let mut tags = status.tags.to_vec();
        tags.sort();
        status.tags = tags.into();
    }
    statuses
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn decisions_can_be_explained_after_the_workers_have_changed(script in arbitrary::script(), seed: u64) {
        let mut work = Work::new(script, seed);
        for turn in 1..=400 {
            work.turn();
            if turn % 100 == 0 {
                work.check();
            }
        }
        // Nothing is kept for decisions that are forgotten.
        let oldest = work.decisions.iter().next().map(|(_, oldest)| oldest.version);
        let history = work.cluster.history();
        prop_assert!(oldest.is_none_or(|oldest| oldest.0 - history.first < CHUNK as u64));
    }
}

fn worker_of_a_kb(cluster: &mut Cluster<()>, name: &str, available: u64) -> SessionId {
    let load = WorkerLoad { memory_total: KB, memory_available: available, ..WorkerLoad::default() };
    let identity = WorkerIdentity { id: name.into(), name: name.into(), ..WorkerIdentity::default() };
    cluster.join(identity, Report { load: Some(load), ..Report::default() }, (), Instant::now())
}

#[test]
fn changes_are_recorded_once_between_two_decisions() {
    let mut cluster = Cluster::<()>::new("me".into());
    worker_of_a_kb(&mut cluster, "a", KB);
    let session = worker_of_a_kb(&mut cluster, "b", KB);
    let count = |cluster: &Cluster<()>| cluster.history().version().0;
    drop(cluster.reserve(0, "t", 1));
    assert_eq!(count(&cluster), 0, "no decision was made");
    cluster.history_mut().decided();
    for _ in 0..3 {
        // The first one of them changes the tags.
        drop(cluster.reserve(1, "t", 1));
        assert_eq!(count(&cluster), 1);
    }
    cluster.history_mut().decided();
    for available in [KB, KB - 1, KB - 2] {
        drop(cluster.reserve(1, "t", 1));
        cluster.measured(
            "b",
            Some(Measured { memory_total: KB, memory_available: available, memory_guests: 0, cpu_use: 0.0 }),
        );
        assert_eq!(count(&cluster), 2, "the memory changes");
    }
    drop(cluster.reserve(1, "u", 1));
    assert_eq!(count(&cluster), 3, "then the tags do");
    cluster.leave("b", session);
    assert_eq!(count(&cluster), 3, "its state is recorded already");
    cluster.history_mut().decided();
    worker_of_a_kb(&mut cluster, "c", KB);
    drop(cluster.reserve(1, "u", 1));
    assert_eq!(count(&cluster), 3, "no decision knows it");
    assert_eq!(cluster.workers()[1].name.as_ref(), "c");
}

#[test]
fn the_history_is_bounded() {
    let mut cluster = Cluster::<()>::new("me".into());
    worker_of_a_kb(&mut cluster, "a", KB);
    let version = cluster.history().version();
    for _ in 0..1000 {
        cluster.history_mut().decided();
        drop(cluster.reserve(0, "t", 1));
    }
    let bytes = cluster.history().bytes();
    assert!(cluster.recollect(version).is_some());
    let latest = cluster.history().version();
    cluster.history_mut().forget_before(latest);
    assert!(cluster.history().bytes() < bytes / 4 && cluster.recollect(version).is_none());
    assert!(cluster.recollect(latest).is_some());
}
