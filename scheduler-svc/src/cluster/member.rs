//! One worker that is in.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use proto::scheduler::v1::{Report, WorkerIdentity, WorkerLoad};

use crate::policy::{KB, Memory, TagCounts, Worker};

/// One stay of a worker, from its `Hello` to the end of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Session(pub(super) u64);

/// What is known of a worker beside what policies go by.
#[derive(Debug)]
pub struct Member<C> {
    pub(super) session: Session,
    /// Who it is.
    pub identity: WorkerIdentity,
    /// What it last reported.
    pub load: WorkerLoad,
    /// What somebody else measured, which then counts instead.
    pub measured: Option<Measured>,
    /// How it is reached.
    pub contact: C,
    /// When it last reported.
    pub last_report: Instant,
    /// What this scheduler has sent there and has not ended.
    own: Work,
    /// What others have, as last reported.
    others: Work,
    /// What ran when the memory of its guests was last measured.
    measured_work: MeasuredWork,
    failed: HashMap<Bytes, String>,
}

/// Memory and CPU of a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Memory in bytes that functions may use. 0: unknown.
    pub memory_total: u64,
    /// What of it is free, in bytes.
    pub memory_available: u64,
    /// What functions that run hold of it, in bytes.
    pub memory_guests: u64,
    /// The share of the CPUs that is in use, from 0 to 1.
    pub cpu_use: f64,
}

/// Invocations that run on a worker.
#[derive(Debug, Default)]
pub(super) struct Work {
    running: u32,
    tags: TagCounts,
    reserved: u64,
}

/// The reservations of what ran when the memory of a worker's guests was measured. What has ended since
/// then holds none of it any more, which no report has to tell.
#[derive(Debug, Default)]
struct MeasuredWork {
    /// The number of the measurement.
    number: u64,
    /// What was reserved, in bytes.
    reserved: u64,
    /// What of that still is.
    left: u64,
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

impl Work {
    fn add(&mut self, tag: &str, running: u32, bytes: u64) {
        self.running += running;
        self.tags.add(tag, running);
        self.reserved = self.reserved.saturating_add(bytes);
    }

    pub(super) fn remove(&mut self, tag: &str, bytes: u64) {
        self.running -= 1;
        self.tags.remove_one(tag);
        self.reserved = self.reserved.saturating_sub(bytes);
    }

    pub(super) fn is_none(&self) -> bool {
        self.running == 0
    }
}

impl MeasuredWork {
    /// An invocation has ended that was sent after so many measurements.
    fn end(&mut self, bytes: u64, after: u64) {
        if after < self.number {
            self.left = self.left.saturating_sub(bytes);
        }
    }

    /// What guests still hold of what was measured, if each held memory in proportion to its reservation.
    fn still_held(&self, measured: u64) -> u64 {
        let held = u128::from(measured) * u128::from(self.left);
        held.checked_div(self.reserved.into()).and_then(|held| u64::try_from(held).ok()).unwrap_or(0)
    }
}

impl From<&WorkerLoad> for Measured {
    fn from(load: &WorkerLoad) -> Self {
        Self {
            memory_total: load.memory_total,
            memory_available: load.memory_available,
            memory_guests: load.memory_guests,
            cpu_use: load.cpu_use,
        }
    }
}

impl<C> Member<C> {
    /// A worker that has `own` work of this scheduler.
    pub(super) fn new(
        session: Session,
        identity: WorkerIdentity,
        contact: C,
        own: Work,
        now: Instant,
    ) -> Self {
        Self {
            session,
            identity,
            load: WorkerLoad::default(),
            measured: None,
            contact,
            last_report: now,
            own,
            others: Work::default(),
            measured_work: MeasuredWork::default(),
            failed: HashMap::new(),
        }
    }

    /// Invocations that this scheduler has sent there and that have not ended.
    pub fn in_flight(&self) -> u32 {
        self.own.running
    }

    /// What counts of its memory and CPU.
    pub fn measurements(&self) -> Measured {
        self.measured.unwrap_or_else(|| Measured::from(&self.load))
    }

    /// Whether it has `code` prepared.
    pub fn code_state(&self, worker: &Worker, code: &Bytes) -> CodeState {
        if worker.warm.contains(code) {
            return CodeState::Ready;
        }
        match self.failed.get(code) {
            Some(message) => CodeState::Failed(message.clone()),
            None => CodeState::Unknown,
        }
    }

    pub(super) fn own(&self) -> &Work {
        &self.own
    }

    /// What this scheduler has sent there, with the worker's id.
    pub(super) fn into_own(self) -> (String, Work) {
        (self.identity.id, self.own)
    }

    /// Takes a report to the scheduler with this id, which is the measurement with this number.
    pub(super) fn take(
        &mut self,
        worker: &mut Worker,
        scheduler_id: &str,
        report: Report,
        now: Instant,
        number: u64,
    ) {
        self.last_report = now;
        self.load = report.load.unwrap_or_default();
        worker.draining = report.draining;
        for hash in report.code_dropped {
            worker.warm.remove(&hash);
            self.failed.remove(&hash);
        }
        for problem in report.code_failed {
            self.failed.insert(problem.hash, problem.message);
        }
        for hash in report.code_ready {
            self.failed.remove(&hash);
            worker.warm.insert(hash);
        }
        self.others = Work::default();
        let mut reported_own = 0_u64;
        for work in &self.load.work {
            let bytes = work.capacity_kb.saturating_mul(KB);
            if work.scheduler_id == scheduler_id {
                reported_own = reported_own.saturating_add(bytes);
            } else {
                self.others.add(&work.tag, work.running, bytes);
            }
        }
        worker.running = self.own.running + self.others.running;
        worker.tags = self.own.tags.clone();
        for (tag, count) in self.others.tags.iter() {
            worker.tags.add(tag, count);
        }
        if self.measured.is_none() {
            self.measure_work(reported_own, number);
        }
        self.update_memory(worker);
    }

    /// Takes what somebody else has measured, which is the measurement with this number.
    pub(super) fn measure(&mut self, worker: &mut Worker, measured: Option<Measured>, number: u64) {
        self.measured = measured;
        self.measure_work(0, number);
        self.update_memory(worker);
    }

    /// The memory of guests was measured. The report may still count work of this scheduler that has ended
    /// in the meantime.
    fn measure_work(&mut self, reported_own: u64, number: u64) {
        let reserved = reported_own.max(self.own.reserved).saturating_add(self.others.reserved);
        let left = self.own.reserved.saturating_add(self.others.reserved);
        self.measured_work = MeasuredWork { number, reserved, left };
    }

    /// An invocation is sent there.
    pub(super) fn begin(&mut self, worker: &mut Worker, tag: &str, bytes: u64) {
        self.own.add(tag, 1, bytes);
        worker.running += 1;
        worker.tags.add(tag, 1);
        self.update_memory(worker);
    }

    /// An invocation has ended that was sent there after so many measurements.
    pub(super) fn end(&mut self, worker: &mut Worker, tag: &str, bytes: u64, after: u64) {
        self.own.remove(tag, bytes);
        self.measured_work.end(bytes, after);
        worker.running -= 1;
        worker.tags.remove_one(tag);
        self.update_memory(worker);
    }

    /// What can still be reserved: all that would be free if nothing ran, less what is reserved for what
    /// runs, or less what that holds, whichever is more. What has ended since the measurement holds nothing.
    fn update_memory(&self, worker: &mut Worker) {
        let Measured { memory_total: total, memory_available, memory_guests, .. } = self.measurements();
        let idle = memory_available.saturating_add(memory_guests).min(total);
        let reserved = self.own.reserved.saturating_add(self.others.reserved);
        let available = idle.saturating_sub(reserved.max(self.measured_work.still_held(memory_guests)));
        worker.memory = (total > 0).then_some(Memory { total, available });
    }
}
