//! One worker that is in.

use std::collections::HashMap;
use std::time::Instant;

use bytes::Bytes;
use proto::scheduler::v1::{Report, WorkerIdentity, WorkerLoad};

use crate::policy::{KB, Memory, TagCounts, Worker};

/// Names the session of a worker, from its `Hello` to the end of its stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionId(pub(super) u64);

/// What the scheduler knows of a worker and policies do not need.
#[derive(Debug)]
pub struct Member<C> {
    pub(super) session: SessionId,
    /// Its name, address and labels.
    pub identity: WorkerIdentity,
    /// What it last reported.
    pub load: WorkerLoad,
    /// What Prometheus has measured. Counts instead of the report.
    pub measured: Option<Measured>,
    /// How it is reached.
    pub contact: C,
    /// When it last reported.
    pub last_report: Instant,
    /// What this scheduler has reserved there.
    own: Reservations,
    /// What other schedulers have reserved there, by the last report.
    others: Reservations,
    /// The reservations behind the last measurement of the guests' memory.
    measured_reservations: MeasuredReservations,
    failed: HashMap<Bytes, String>,
}

/// Memory and CPU of a worker.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Measured {
    /// Memory in bytes that functions may use. 0: unknown.
    pub memory_total: u64,
    /// The part of it that is free, in bytes.
    pub memory_available: u64,
    /// The part of it that running guests hold, in bytes.
    pub memory_guests: u64,
    /// The share of the CPUs that is in use, from 0 to 1.
    pub cpu_use: f64,
}

/// Reservations on a worker, added up.
#[derive(Debug, Default)]
pub(super) struct Reservations {
    invocations: u32,
    tags: TagCounts,
    bytes: u64,
}

/// The reservations that were held when the memory of a worker's guests was measured. Guests that have ended
/// since then hold none of it, before the next measurement says so.
#[derive(Debug, Default)]
struct MeasuredReservations {
    /// The number of the measurement.
    number: u64,
    /// Their sum, in bytes.
    bytes: u64,
    /// The sum of those that are still held, in bytes.
    held: u64,
}

/// Whether a worker has prepared some code.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CodeState {
    /// The code is prepared.
    Ready,
    /// It could not be prepared, for this reason.
    Failed(String),
    /// The worker has not reported on it.
    Unknown,
}

impl Reservations {
    fn add(&mut self, tag: &str, invocations: u32, bytes: u64) {
        self.invocations += invocations;
        self.tags.add(tag, invocations);
        self.bytes = self.bytes.saturating_add(bytes);
    }

    pub(super) fn remove(&mut self, tag: &str, bytes: u64) {
        self.invocations -= 1;
        self.tags.remove_one(tag);
        self.bytes = self.bytes.saturating_sub(bytes);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.invocations == 0
    }
}

impl MeasuredReservations {
    /// Releases a reservation that was made after `after` measurements.
    fn release(&mut self, bytes: u64, after: u64) {
        if after < self.number {
            self.held = self.held.saturating_sub(bytes);
        }
    }

    /// The part of the `measured` memory that guests still hold, if each held memory in proportion to its
    /// reservation.
    fn still_held(&self, measured: u64) -> u64 {
        let held = u128::from(measured) * u128::from(self.held);
        held.checked_div(self.bytes.into()).and_then(|held| u64::try_from(held).ok()).unwrap_or(0)
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
    /// A worker on which this scheduler holds the reservations `own`.
    pub(super) fn new(
        session: SessionId,
        identity: WorkerIdentity,
        contact: C,
        own: Reservations,
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
            others: Reservations::default(),
            measured_reservations: MeasuredReservations::default(),
            failed: HashMap::new(),
        }
    }

    /// Invocations that this scheduler has placed there and that have not ended.
    pub fn in_flight(&self) -> u32 {
        self.own.invocations
    }

    /// Its memory and CPU use, from Prometheus if it has them, else from the last report.
    pub fn measurements(&self) -> Measured {
        self.measured.unwrap_or_else(|| Measured::from(&self.load))
    }

    /// Whether it has prepared `code`.
    pub fn code_state(&self, worker: &Worker, code: &Bytes) -> CodeState {
        if worker.warm.contains(code) {
            return CodeState::Ready;
        }
        match self.failed.get(code) {
            Some(message) => CodeState::Failed(message.clone()),
            None => CodeState::Unknown,
        }
    }

    pub(super) fn own(&self) -> &Reservations {
        &self.own
    }

    /// The worker's id and what this scheduler has reserved there.
    pub(super) fn into_own(self) -> (String, Reservations) {
        (self.identity.id, self.own)
    }

    /// Applies a report to the scheduler with this id, which is the measurement with this number.
    pub(super) fn apply_report(
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
        self.others = Reservations::default();
        let mut reported_own = 0_u64;
        for work in &self.load.work {
            let bytes = work.capacity_kb.saturating_mul(KB);
            if work.scheduler_id == scheduler_id {
                reported_own = reported_own.saturating_add(bytes);
            } else {
                self.others.add(&work.tag, work.running, bytes);
            }
        }
        worker.running = self.own.invocations + self.others.invocations;
        worker.tags = self.own.tags.clone();
        for (tag, count) in self.others.tags.iter() {
            worker.tags.add(tag, count);
        }
        if self.measured.is_none() {
            self.count_measured(reported_own, number);
        }
        self.update_memory(worker);
    }

    /// Applies what Prometheus has measured, which is the measurement with this number. `None`: it has
    /// nothing recent, and reports count.
    pub(super) fn apply_measured(&mut self, worker: &mut Worker, measured: Option<Measured>, number: u64) {
        self.measured = measured;
        self.count_measured(0, number);
        self.update_memory(worker);
    }

    /// The guests' memory was measured. A report may still count reservations of this scheduler that were
    /// released while it was under way.
    fn count_measured(&mut self, reported_own: u64, number: u64) {
        let bytes = reported_own.max(self.own.bytes).saturating_add(self.others.bytes);
        let held = self.own.bytes.saturating_add(self.others.bytes);
        self.measured_reservations = MeasuredReservations { number, bytes, held };
    }

    /// Reserves memory for an invocation.
    pub(super) fn reserve(&mut self, worker: &mut Worker, tag: &str, bytes: u64) {
        self.own.add(tag, 1, bytes);
        worker.running += 1;
        worker.tags.add(tag, 1);
        self.update_memory(worker);
    }

    /// Releases a reservation that was made after `after` measurements.
    pub(super) fn release(&mut self, worker: &mut Worker, tag: &str, bytes: u64, after: u64) {
        self.own.remove(tag, bytes);
        self.measured_reservations.release(bytes, after);
        worker.running -= 1;
        worker.tags.remove_one(tag);
        self.update_memory(worker);
    }

    /// What can still be reserved: the memory that would be free if nothing ran, less what is reserved or
    /// what guests hold, whichever is more.
    fn update_memory(&self, worker: &mut Worker) {
        let Measured { memory_total: total, memory_available, memory_guests, .. } = self.measurements();
        let idle = memory_available.saturating_add(memory_guests).min(total);
        let reserved = self.own.bytes.saturating_add(self.others.bytes);
        let available =
            idle.saturating_sub(reserved.max(self.measured_reservations.still_held(memory_guests)));
        worker.memory = (total > 0).then_some(Memory { total, available });
    }
}
