//! The workers as they are now. Pure: no IO, and the time is an argument.
//!
//! What this scheduler has sent to a worker it counts itself, exactly, from the choice to the end. What
//! other schedulers have sent it learns from the worker's reports, which tell whose work they count. So
//! no report can make it forget, or count twice, what it has just sent.

mod member;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use proto::scheduler::v1::{Report, WorkerIdentity};

use self::member::Work;
pub use self::member::{CodeState, Measured, Member, Session};
use crate::policy::Worker;

/// The workers that are in. `C` is how one is reached.
#[derive(Debug)]
pub struct Cluster<C> {
    /// Names this scheduler to workers.
    scheduler_id: String,
    /// What policies know of each worker, ordered by name.
    workers: Vec<Worker>,
    /// All else that is known of it, in the same order.
    members: Vec<Member<C>>,
    /// The names in the same order, shared with all that remembers an index. Empty after a change, until
    /// somebody wants them: when many join, nobody does between two of them.
    names: OnceLock<Arc<[Arc<str>]>>,
    /// Work that this scheduler has sent to workers that are out, by the worker's id: a stream may break
    /// while the worker goes on.
    parted: HashMap<String, Work>,
    sessions: u64,
    /// Measurements of all workers so far. It tells what was reserved before one from what came after.
    measurements: u64,
}

/// A place on a worker for one invocation. Give it back with [`Cluster::release`].
#[derive(Debug)]
pub struct Reservation {
    worker_name: Arc<str>,
    worker_id: String,
    tag: String,
    bytes: u64,
    /// How many measurements there were before it.
    after: u64,
}

impl<C> Cluster<C> {
    /// The cluster of the scheduler with this id; nobody is in yet.
    pub fn new(scheduler_id: String) -> Self {
        Self {
            scheduler_id,
            workers: Vec::new(),
            members: Vec::new(),
            names: OnceLock::new(),
            parted: HashMap::new(),
            sessions: 0,
            measurements: 0,
        }
    }

    /// What names this scheduler to workers.
    pub fn scheduler_id(&self) -> &str {
        &self.scheduler_id
    }

    /// A worker comes in; it takes the place of one of the same name.
    pub fn join(&mut self, identity: WorkerIdentity, report: Report, contact: C, now: Instant) -> Session {
        self.sessions += 1;
        let session = Session(self.sessions);
        if let Ok(index) = self.find(&identity.name) {
            self.remove(index);
        }
        let index = self.find(&identity.name).unwrap_or_else(|index| index);
        let work = self.parted.remove(&identity.id).unwrap_or_default();
        self.workers.insert(index, Worker::new(&identity.name, None));
        self.members.insert(index, Member::new(session, identity, contact, work, now));
        self.take_report(index, report, now);
        self.names.take();
        session
    }

    /// A worker reports. False: the session is over.
    pub fn report(&mut self, name: &str, session: Session, report: Report, now: Instant) -> bool {
        let Some(index) = self.of_session(name, session) else { return false };
        self.take_report(index, report, now);
        true
    }

    /// Somebody else has measured a worker, or cannot any more. False: there is none of this name.
    pub fn measured(&mut self, name: &str, measured: Option<Measured>) -> bool {
        let Ok(index) = self.find(name) else { return false };
        self.measurements += 1;
        self.members[index].measure(&mut self.workers[index], measured, self.measurements);
        true
    }

    /// A worker's stream has ended. `None`: it was out already, or is in again.
    pub fn leave(&mut self, name: &str, session: Session) -> Option<Worker> {
        let index = self.of_session(name, session)?;
        Some(self.remove(index))
    }

    /// Takes out, and names, who has not reported for `patience`.
    pub fn expire(&mut self, patience: Duration, now: Instant) -> Vec<Arc<str>> {
        let silent = |member: &Member<C>| now.saturating_duration_since(member.last_report) >= patience;
        let mut taken_out = Vec::new();
        while let Some(index) = self.members.iter().position(silent) {
            taken_out.push(self.remove(index).name);
        }
        taken_out
    }

    /// What policies know of the workers, ordered by name.
    pub fn workers(&self) -> &[Worker] {
        &self.workers
    }

    /// All that is known of the workers, ordered by name.
    pub fn members(&self) -> impl Iterator<Item = (&Worker, &Member<C>)> {
        self.workers.iter().zip(&self.members)
    }

    /// The workers' names, in their order.
    pub fn names(&self) -> &Arc<[Arc<str>]> {
        self.names.get_or_init(|| self.workers.iter().map(|worker| Arc::clone(&worker.name)).collect())
    }

    /// Reserves `capacity` bytes on the worker with this index, and gives the way to it.
    pub fn reserve(&mut self, index: u32, tag: &str, capacity: u64) -> (Reservation, &C) {
        let (member, worker) = (&mut self.members[index as usize], &mut self.workers[index as usize]);
        member.begin(worker, tag, capacity);
        let reservation = Reservation {
            worker_name: Arc::clone(&worker.name),
            worker_id: member.identity.id.clone(),
            tag: tag.to_owned(),
            bytes: capacity,
            after: self.measurements,
        };
        (reservation, &member.contact)
    }

    /// The invocation has ended.
    pub fn release(&mut self, reservation: &Reservation) {
        let Reservation { worker_name, worker_id, tag, bytes, after } = reservation;
        if let Ok(index) = self.find(worker_name)
            && self.members[index].identity.id == *worker_id
        {
            self.members[index].end(&mut self.workers[index], tag, *bytes, *after);
        } else if let Some(work) = self.parted.get_mut(worker_id) {
            work.remove(tag, *bytes);
            if work.is_none() {
                self.parted.remove(worker_id);
            }
        }
    }

    fn take_report(&mut self, index: usize, report: Report, now: Instant) {
        self.measurements += 1;
        let (member, worker) = (&mut self.members[index], &mut self.workers[index]);
        member.take(worker, &self.scheduler_id, report, now, self.measurements);
    }

    /// Takes a worker out, and remembers what it was sent.
    fn remove(&mut self, index: usize) -> Worker {
        self.names.take();
        let member = self.members.remove(index);
        if !member.own().is_none() {
            let (id, work) = member.into_own();
            self.parted.insert(id, work);
        }
        self.workers.remove(index)
    }

    fn of_session(&self, name: &str, session: Session) -> Option<usize> {
        let index = self.find(name).ok()?;
        (self.members[index].session == session).then_some(index)
    }

    fn find(&self, name: &str) -> Result<usize, usize> {
        self.workers.binary_search_by(|worker| (*worker.name).cmp(name))
    }
}
