//! The workers as they are now. Pure: no IO, and the time is an argument.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use bytes::Bytes;
use proto::scheduler::v1::{Report, WorkerIdentity, WorkerLoad};

/// Bytes in the unit of a function's capacity.
const KB: u64 = 1024;

/// The workers that are in, by name. `C` is how one is reached.
#[derive(Debug)]
pub struct Cluster<C> {
    workers: BTreeMap<String, Worker<C>>,
    sessions: u64,
}

/// One stay of a worker, from its `Hello` to the end of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session(u64);

/// One worker that is in.
#[derive(Debug)]
pub struct Worker<C> {
    session: Session,
    /// Who it is.
    pub identity: WorkerIdentity,
    /// What it last reported.
    pub load: WorkerLoad,
    /// How it is reached.
    pub contact: C,
    /// It takes nothing new.
    pub draining: bool,
    /// When it last reported.
    pub last_report: Instant,
    /// How often it has reported; tells which reservations its last report knows of.
    reports: u64,
    /// Bytes reserved since its last report by what still runs.
    reserved: u64,
    /// What this scheduler has sent there and has not ended.
    pub in_flight: u32,
    ready: HashSet<Bytes>,
    failed: HashMap<Bytes, String>,
}

/// A place on a worker for one invocation. Give it back with [`Cluster::release`].
#[derive(Debug)]
pub struct Reservation {
    worker: String,
    session: Session,
    report: u64,
    bytes: u64,
}

/// What a policy knows of a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Candidate<'a> {
    /// The worker's name.
    pub name: &'a str,
    /// Free memory in bytes, less what was reserved since the last report. `None`: unknown.
    pub available: Option<u64>,
    /// Invocations that run there, as reported or as sent, whichever is more.
    pub running: u32,
    /// The code is prepared there.
    pub warm: bool,
}

/// Whether a worker has a code prepared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeState {
    /// It has.
    Ready,
    /// It could not prepare it.
    Failed(String),
    /// It has not said.
    Unknown,
}

impl<C> Default for Cluster<C> {
    fn default() -> Self {
        Self { workers: BTreeMap::new(), sessions: 0 }
    }
}

impl<C> Cluster<C> {
    /// A worker comes in; it takes the place of one of the same name.
    pub fn join(&mut self, identity: WorkerIdentity, report: Report, contact: C, now: Instant) -> Session {
        self.sessions += 1;
        let session = Session(self.sessions);
        let name = identity.name.clone();
        let mut worker = Worker {
            session,
            identity,
            load: WorkerLoad::default(),
            contact,
            draining: false,
            last_report: now,
            reports: 0,
            reserved: 0,
            in_flight: 0,
            ready: HashSet::new(),
            failed: HashMap::new(),
        };
        worker.take(report, now);
        self.workers.insert(name, worker);
        session
    }

    /// A worker reports. False: the session is over.
    pub fn report(&mut self, name: &str, session: Session, report: Report, now: Instant) -> bool {
        match self.of_session(name, session) {
            Some(worker) => {
                worker.take(report, now);
                true
            }
            None => false,
        }
    }

    /// A worker's stream has ended. `None`: it was out already, or is in again.
    pub fn leave(&mut self, name: &str, session: Session) -> Option<Worker<C>> {
        self.of_session(name, session)?;
        self.workers.remove(name)
    }

    /// Takes out, and names, who has not reported for `patience`.
    pub fn expire(&mut self, patience: Duration, now: Instant) -> Vec<String> {
        let silent = |worker: &Worker<C>| now.saturating_duration_since(worker.last_report) >= patience;
        self.workers.extract_if(.., |_, worker| silent(worker)).map(|(name, _)| name).collect()
    }

    /// The workers, ordered by name.
    pub fn workers(&self) -> impl Iterator<Item = &Worker<C>> {
        self.workers.values()
    }

    /// The worker of this name.
    pub fn worker(&self, name: &str) -> Option<&Worker<C>> {
        self.workers.get(name)
    }

    /// Those that take new work, ordered by name, as a policy sees them.
    pub fn candidates<'a>(&'a self, code: &'a Bytes) -> impl Iterator<Item = Candidate<'a>> {
        self.workers().filter(|worker| !worker.draining).map(|worker| Candidate {
            name: &worker.identity.name,
            available: (worker.load.memory_total > 0)
                .then(|| worker.load.memory_available.saturating_sub(worker.reserved)),
            running: worker.load.running.max(worker.in_flight),
            warm: worker.ready.contains(code),
        })
    }

    /// Reserves `capacity_kb` on the worker of this name.
    pub fn reserve(&mut self, name: &str, capacity_kb: u64) -> Option<Reservation> {
        let worker = self.workers.get_mut(name)?;
        let bytes = capacity_kb.saturating_mul(KB);
        worker.reserved = worker.reserved.saturating_add(bytes);
        worker.in_flight += 1;
        Some(Reservation { worker: name.to_owned(), session: worker.session, report: worker.reports, bytes })
    }

    /// The invocation has ended.
    pub fn release(&mut self, reservation: &Reservation) {
        let Some(worker) = self.of_session(&reservation.worker, reservation.session) else { return };
        worker.in_flight -= 1;
        // What was reserved before the last report is part of that report.
        if worker.reports == reservation.report {
            worker.reserved -= reservation.bytes;
        }
    }

    fn of_session(&mut self, name: &str, session: Session) -> Option<&mut Worker<C>> {
        self.workers.get_mut(name).filter(|worker| worker.session == session)
    }
}

impl<C> Worker<C> {
    /// Whether this worker has `code` prepared.
    pub fn code_state(&self, code: &Bytes) -> CodeState {
        if self.ready.contains(code) {
            return CodeState::Ready;
        }
        match self.failed.get(code) {
            Some(message) => CodeState::Failed(message.clone()),
            None => CodeState::Unknown,
        }
    }

    fn take(&mut self, report: Report, now: Instant) {
        self.last_report = now;
        self.reports += 1;
        self.reserved = 0;
        self.load = report.load.unwrap_or_default();
        self.draining = report.draining;
        for hash in report.code_dropped {
            self.ready.remove(&hash);
            self.failed.remove(&hash);
        }
        for problem in report.code_failed {
            self.failed.insert(problem.hash, problem.message);
        }
        for hash in report.code_ready {
            self.failed.remove(&hash);
            self.ready.insert(hash);
        }
    }
}

#[cfg(test)]
mod tests {
    use proto::scheduler::v1::CodeProblem;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn identity(name: &str) -> WorkerIdentity {
        WorkerIdentity { name: name.into(), ..WorkerIdentity::default() }
    }

    fn memory(available_kb: u64) -> Report {
        let load = WorkerLoad {
            memory_total: 1000 * KB,
            memory_available: available_kb * KB,
            ..WorkerLoad::default()
        };
        Report { load: Some(load), ..Report::default() }
    }

    fn available_kb(cluster: &Cluster<()>) -> Option<u64> {
        let code = Bytes::new();
        let available = cluster.candidates(&code).next().expect("a worker").available;
        available.map(|bytes| bytes / KB)
    }

    #[test]
    fn reservations_count_until_the_next_report_or_their_end() {
        let now = Instant::now();
        let mut cluster = Cluster::default();
        let session = cluster.join(identity("w"), memory(500), (), now);
        let first = cluster.reserve("w", 100).expect("w is in");
        let second = cluster.reserve("w", 50).expect("w is in");
        assert_eq!(available_kb(&cluster), Some(350));
        cluster.release(&second);
        assert_eq!(available_kb(&cluster), Some(400));
        // The report knows of `first`: its end changes nothing until the next report.
        assert!(cluster.report("w", session, memory(380), now));
        assert_eq!(available_kb(&cluster), Some(380));
        cluster.release(&first);
        assert_eq!(available_kb(&cluster), Some(380));
        assert_eq!(cluster.worker("w").expect("w is in").in_flight, 0);
    }

    #[test]
    fn more_reserved_than_there_is_means_none_available() {
        let mut cluster = Cluster::default();
        cluster.join(identity("w"), memory(10), (), Instant::now());
        cluster.reserve("w", u64::MAX);
        assert_eq!(available_kb(&cluster), Some(0));
    }

    #[test]
    fn unknown_memory_is_unknown() {
        let mut cluster = Cluster::default();
        cluster.join(identity("w"), Report::default(), (), Instant::now());
        assert_eq!(available_kb(&cluster), None);
    }

    #[test]
    fn a_new_stay_is_not_ended_by_what_is_left_of_the_old_one() {
        let now = Instant::now();
        let mut cluster = Cluster::default();
        let old = cluster.join(identity("w"), memory(10), (), now);
        let reservation = cluster.reserve("w", 5).expect("w is in");
        cluster.join(identity("w"), memory(20), (), now);
        assert!(cluster.leave("w", old).is_none());
        assert!(!cluster.report("w", old, memory(1), now));
        cluster.release(&reservation);
        assert_eq!(available_kb(&cluster), Some(20));
    }

    #[test]
    fn the_silent_are_taken_out() {
        let start = Instant::now();
        let mut cluster = Cluster::default();
        cluster.join(identity("a"), memory(1), (), start);
        let b = cluster.join(identity("b"), memory(1), (), start);
        cluster.report("b", b, memory(1), start + 2 * SECOND);
        assert_eq!(cluster.expire(3 * SECOND, start + 3 * SECOND), ["a"]);
        assert_eq!(cluster.workers().count(), 1);
    }

    #[test]
    fn draining_workers_are_no_candidates() {
        let mut cluster = Cluster::default();
        cluster.join(identity("w"), Report { draining: true, ..memory(1) }, (), Instant::now());
        assert_eq!(cluster.candidates(&Bytes::new()).count(), 0);
    }

    #[test]
    fn code_becomes_ready_fails_and_is_dropped() {
        let now = Instant::now();
        let code = Bytes::from_static(b"hash");
        let mut cluster = Cluster::default();
        let session = cluster.join(identity("w"), Report::default(), (), now);
        let state = |cluster: &Cluster<()>| cluster.worker("w").expect("w is in").code_state(&code);
        assert_eq!(state(&cluster), CodeState::Unknown);
        let problem = CodeProblem { hash: code.clone(), message: "broken".into() };
        cluster.report("w", session, Report { code_failed: vec![problem], ..Report::default() }, now);
        assert_eq!(state(&cluster), CodeState::Failed("broken".into()));
        cluster.report("w", session, Report { code_ready: vec![code.clone()], ..Report::default() }, now);
        assert_eq!(state(&cluster), CodeState::Ready);
        cluster.report("w", session, Report { code_dropped: vec![code.clone()], ..Report::default() }, now);
        assert_eq!(state(&cluster), CodeState::Unknown);
    }
}
