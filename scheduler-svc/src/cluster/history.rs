//! What workers were like when decisions were made: records of changes, each with the state before it.
//!
//! A change is recorded only if a decision was made since the last record of the same worker. So the history grows
//! with the number of decisions, and between two of them at most by one record per worker.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::SessionId;
use crate::policy::{Memory, Update, Worker, WorkerStatus};

/// The records of a chunk, which readers share. Few, since a decision that frees a chunk takes longer.
const CHUNK: usize = 32;

/// A point in the history: the number of records before it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version(u64);

/// The workers between two changes of who has joined, ordered by name.
#[derive(Debug, Default)]
pub struct MemberList {
    /// Their names.
    pub names: Arc<[Arc<str>]>,
    /// Their sessions, in the same order.
    pub sessions: Vec<SessionId>,
}

/// The records back to the oldest decision that is remembered.
#[derive(Debug, Default)]
pub struct History {
    chunks: VecDeque<Arc<Chunk>>,
    /// The number of records before the first chunk.
    first: u64,
    /// The latest records, not yet a chunk.
    latest: Chunk,
    /// The sizes of all records, in bytes.
    bytes: usize,
    /// The number of decisions so far.
    decisions: u64,
}

#[derive(Debug, Default, Clone)]
struct Chunk {
    records: Vec<Record>,
    bytes: usize,
}

/// What a worker was like before a change.
#[derive(Debug, Clone)]
enum Record {
    /// Nothing else changed.
    Load {
        session: SessionId,
        available: u64,
        running: u32,
    },
    Status {
        session: SessionId,
        status: Arc<WorkerStatus>,
    },
}

/// Which records of a worker there are: the numbers of decisions when the latest ones were made.
#[derive(Debug, Clone, Copy)]
pub(super) struct Recorded {
    load: u64,
    status: u64,
}

/// A part of the history, and the workers as they are now.
#[derive(Debug)]
pub struct Recollection {
    now: Vec<(SessionId, WorkerStatus)>,
    /// Oldest first.
    chunks: Vec<Arc<Chunk>>,
}

impl History {
    /// Where the history ends now.
    pub fn version(&self) -> Version {
        Version(self.first + (self.chunks.len() * CHUNK + self.latest.records.len()) as u64)
    }

    /// The memory that the records take, in bytes.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A decision is remembered that was made now: what changes from now on is recorded.
    pub fn decided(&mut self) {
        self.decisions += 1;
    }

    /// Nobody remembers a decision before `oldest`.
    pub fn forget_before(&mut self, oldest: Version) {
        while self.first + CHUNK as u64 <= oldest.0
            && let Some(chunk) = self.chunks.pop_front()
        {
            self.first += CHUNK as u64;
            self.bytes -= chunk.bytes;
        }
    }

    /// What is recorded of a worker that joins: no decision knows it.
    pub(super) fn joined(&self) -> Recorded {
        Recorded { load: self.decisions, status: self.decisions }
    }

    /// A worker changes.
    pub(super) fn changes(
        &mut self,
        session: SessionId,
        worker: &Worker,
        update: &Update<'_>,
        recorded: &mut Recorded,
    ) {
        let Recorded { load, status } = *recorded;
        if status == self.decisions {
            return;
        }
        let total = |memory: Option<Memory>| memory.map(|memory| memory.total);
        if total(worker.memory) != total(update.memory)
            || worker.draining != update.draining
            || update.tags.changes(&worker.tags)
        {
            self.record_status(session, worker, recorded);
        } else if load != self.decisions && (worker.memory, worker.running) != (update.memory, update.running)
        {
            recorded.load = self.decisions;
            self.push(Record::Load { session, available: worker.available(), running: worker.running });
        }
    }

    /// A worker leaves.
    pub(super) fn leaves(&mut self, session: SessionId, worker: &Worker, mut recorded: Recorded) {
        if recorded.status != self.decisions {
            self.record_status(session, worker, &mut recorded);
        }
    }

    /// The history from `since` on, for the workers as they are `now`. `None`: it does not reach back as far.
    pub(super) fn recollect(
        &self,
        since: Version,
        now: impl Iterator<Item = (SessionId, WorkerStatus)>,
    ) -> Option<Recollection> {
        let skipped = usize::try_from(since.0.checked_sub(self.first)?).ok()? / CHUNK;
        let mut chunks: Vec<_> = self.chunks.iter().skip(skipped).cloned().collect();
        chunks.push(Arc::new(self.latest.clone()));
        // Records before `since` in the first chunk.
        if let Some(chunk) = chunks.first_mut() {
            let before = usize::try_from(since.0 - self.first).ok()? - skipped * CHUNK;
            let records = chunk.records.get(before..).unwrap_or_default().to_vec();
            *chunk = Arc::new(Chunk { records, bytes: 0 });
        }
        Some(Recollection { now: now.collect(), chunks })
    }

    fn record_status(&mut self, session: SessionId, worker: &Worker, recorded: &mut Recorded) {
        *recorded = self.joined();
        self.push(Record::Status { session, status: Arc::new(worker.status()) });
    }

    fn push(&mut self, record: Record) {
        let bytes = record.bytes();
        self.bytes += bytes;
        self.latest.bytes += bytes;
        self.latest.records.push(record);
        if self.latest.records.len() == CHUNK {
            let next = Chunk { records: Vec::with_capacity(CHUNK), bytes: 0 };
            self.chunks.push_back(Arc::new(std::mem::replace(&mut self.latest, next)));
        }
    }
}

impl Record {
    /// About the memory that it takes, in bytes.
    fn bytes(&self) -> usize {
        let status = match self {
            Self::Load { .. } => 0,
            Self::Status { status, .. } => {
                size_of::<WorkerStatus>() + status.tags.len() * size_of::<Arc<str>>()
            }
        };
        size_of::<Self>() + status
    }
}

impl Recollection {
    /// What these workers were like at the version from which on the history is.
    pub fn statuses(&self, members: &MemberList) -> Vec<WorkerStatus> {
        let positions: HashMap<_, _> =
            members.sessions.iter().enumerate().map(|(position, session)| (*session, position)).collect();
        let mut statuses = vec![WorkerStatus::default(); members.sessions.len()];
        for (session, status) in &self.now {
            if let Some(position) = positions.get(session) {
                statuses[*position] = status.clone();
            }
        }
        // The oldest record of a worker counts.
        let records = self.chunks.iter().rev().flat_map(|chunk| chunk.records.iter().rev());
        for record in records {
            let (Record::Load { session, .. } | Record::Status { session, .. }) = record;
            let Some(worker) = positions.get(session).map(|position| &mut statuses[*position]) else {
                continue;
            };
            match record {
                Record::Status { status, .. } => *worker = (**status).clone(),
                Record::Load { available, running, .. } => {
                    worker.running = *running;
                    if let Some(memory) = &mut worker.memory {
                        memory.available = *available;
                    }
                }
            }
        }
        statuses
    }
}
