//! The workers as they are now. Pure: no IO, and the time is an argument.
//!
//! A scheduler counts its own reservations itself, exactly, from placement until the invocation ends. Those
//! of other schedulers it learns from the workers' reports, which say which scheduler placed what. So a
//! report that is late can neither drop nor double a reservation.

mod member;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use proto::scheduler::v1::{Report, WorkerIdentity};

use self::member::Reservations;
pub use self::member::{CodeState, Measured, Member, SessionId};
use crate::policy::Worker;

/// The workers that have joined. `C` is how one is reached.
#[derive(Debug)]
pub struct Cluster<C> {
    /// Names this scheduler to workers.
    scheduler_id: String,
    /// What policies know of each worker, ordered by name.
    workers: Vec<Worker>,
    /// What else is known of each worker, in the same order.
    members: Vec<Member<C>>,
    /// The names in the same order, shared with whoever remembers an index. Made on demand: when many
    /// workers join, nobody needs them in between.
    names: OnceLock<Arc<[Arc<str>]>>,
    /// Reservations of this scheduler on workers that have left, by the worker's id: a stream may break while
    /// the worker keeps running.
    departed: HashMap<String, Reservations>,
    sessions: u64,
    /// The number of measurements of workers so far. Orders them and reservations.
    measurements: u64,
}

/// Memory reserved on a worker for one invocation. Give it back with [`Cluster::release`].
#[derive(Debug)]
pub struct Reservation {
    worker_name: Arc<str>,
    worker_id: String,
    tag: String,
    bytes: u64,
    /// The number of measurements before it.
    after: u64,
}

impl<C> Cluster<C> {
    /// The cluster of the scheduler with this id, without workers.
    pub fn new(scheduler_id: String) -> Self {
        Self {
            scheduler_id,
            workers: Vec::new(),
            members: Vec::new(),
            names: OnceLock::new(),
            departed: HashMap::new(),
            sessions: 0,
            measurements: 0,
        }
    }

    /// What names this scheduler to workers.
    pub fn scheduler_id(&self) -> &str {
        &self.scheduler_id
    }

    /// A worker joins. It replaces one with the same name.
    pub fn join(&mut self, identity: WorkerIdentity, report: Report, contact: C, now: Instant) -> SessionId {
        self.sessions += 1;
        let session = SessionId(self.sessions);
        if let Ok(index) = self.find(&identity.name) {
            self.remove(index);
        }
        let index = self.find(&identity.name).unwrap_or_else(|index| index);
        let own = self.departed.remove(&identity.id).unwrap_or_default();
        self.workers.insert(index, Worker::new(&identity.name, None));
        self.members.insert(index, Member::new(session, identity, contact, own, now));
        self.apply_report(index, report, now);
        self.names.take();
        session
    }

    /// A worker reports. False: its session is over.
    pub fn report(&mut self, name: &str, session: SessionId, report: Report, now: Instant) -> bool {
        let Some(index) = self.of_session(name, session) else { return false };
        self.apply_report(index, report, now);
        true
    }

    /// Prometheus has measured a worker, or no longer can. False: no worker has this name.
    pub fn measured(&mut self, name: &str, measured: Option<Measured>) -> bool {
        let Ok(index) = self.find(name) else { return false };
        self.measurements += 1;
        self.members[index].apply_measured(&mut self.workers[index], measured, self.measurements);
        true
    }

    /// A worker's stream has ended. `None`: its session was over already.
    pub fn leave(&mut self, name: &str, session: SessionId) -> Option<Worker> {
        let index = self.of_session(name, session)?;
        Some(self.remove(index))
    }

    /// When the worker that has been silent for the longest time reported.
    pub fn oldest_report(&self) -> Option<Instant> {
        self.members.iter().map(|member| member.last_report).min()
    }

    /// Removes the workers that have not reported for `timeout`, and names them.
    pub fn expire(&mut self, timeout: Duration, now: Instant) -> Vec<Arc<str>> {
        let silent = |member: &Member<C>| now.saturating_duration_since(member.last_report) >= timeout;
        let mut expired = Vec::new();
        while let Some(index) = self.members.iter().position(silent) {
            expired.push(self.remove(index).name);
        }
        expired
    }

    /// What policies know of the workers, ordered by name.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// Everything known of the workers, ordered by name.
    pub fn members(&self) -> impl Iterator<Item = (&Worker, &Member<C>)> {
        self.workers.iter().zip(&self.members)
    }

    /// The workers' names, in order.
    pub fn names(&self) -> &Arc<[Arc<str>]> {
        self.names.get_or_init(|| self.workers.iter().map(|worker| Arc::clone(&worker.name)).collect())
    }

    /// Reserves `capacity` bytes on the worker with this index. Also gives how to reach it.
    pub fn reserve(&mut self, index: u32, tag: &str, capacity: u64) -> (Reservation, &C) {
        let (member, worker) = (&mut self.members[index as usize], &mut self.workers[index as usize]);
        member.reserve(worker, tag, capacity);
        let reservation = Reservation {
            worker_name: Arc::clone(&worker.name),
            worker_id: member.identity.id.clone(),
            tag: tag.to_owned(),
            bytes: capacity,
            after: self.measurements,
        };
        (reservation, &member.contact)
    }

    /// Releases a reservation: its invocation has ended.
    pub fn release(&mut self, reservation: &Reservation) {
        let Reservation { worker_name, worker_id, tag, bytes, after } = reservation;
        if let Ok(index) = self.find(worker_name)
            && self.members[index].identity.id == *worker_id
        {
            self.members[index].release(&mut self.workers[index], tag, *bytes, *after);
        } else if let Some(own) = self.departed.get_mut(worker_id) {
            own.remove(tag, *bytes);
            if own.is_empty() {
                self.departed.remove(worker_id);
            }
        }
    }

    fn apply_report(&mut self, index: usize, report: Report, now: Instant) {
        self.measurements += 1;
        let (member, worker) = (&mut self.members[index], &mut self.workers[index]);
        member.apply_report(worker, &self.scheduler_id, report, now, self.measurements);
    }

    /// Removes a worker, and remembers what this scheduler has reserved there.
    fn remove(&mut self, index: usize) -> Worker {
        self.names.take();
        let member = self.members.remove(index);
        if !member.own().is_empty() {
            let (id, own) = member.into_own();
            self.departed.insert(id, own);
        }
        self.workers.remove(index)
    }

    fn of_session(&self, name: &str, session: SessionId) -> Option<usize> {
        let index = self.find(name).ok()?;
        (self.members[index].session == session).then_some(index)
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.workers.binary_search_by(|worker| (*worker.name).cmp(name))
    }
}
