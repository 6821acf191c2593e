//! The registry as a stream: a snapshot, then each change, for everyone who follows it.
//!
//! A subscription pulls. It reads the change log as fast as its follower takes what it sends, a few
//! revisions at a time, so that a slow one costs no memory; what it needs may have been pruned
//! meanwhile, and then it starts over with a new snapshot. Subscriptions that start together share
//! one snapshot.

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mesh::Caller;
use mesh::backoff::Backoff;
use prometheus::IntGauge;
use prost::Message as _;
use proto::registry::v1::change::Change;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::{ChangeSet, Function, Module, Script, Snapshot, WatchResponse};
use tokio::sync::{Mutex, watch};

use crate::error::{RegistryError, Result};
use crate::registry::Registry;
use crate::store::{DatabaseError, LoggedChanges};

/// Functions in one part of a snapshot.
const MAX_PART_FUNCTIONS: usize = 500;
/// About the largest part of a snapshot; one item may be larger.
const MAX_PART_BYTES: usize = 4 << 20;
/// Revisions that a subscription reads at once.
const BATCH: u64 = 32;
/// A subscription takes a snapshot that is this many revisions old, and then what came since.
const SHARED_FOR: u64 = 100;

/// Serves all subscriptions of this process.
pub(crate) struct SubscriptionServer {
    registry: Arc<Registry>,
    watchers: IntGauge,
    /// The last snapshot, for as long as a subscription sends it.
    shared: Mutex<Weak<Parts>>,
}

/// A snapshot in parts, and its revision.
struct Parts {
    revision: u64,
    parts: Vec<Snapshot>,
}

impl SubscriptionServer {
    pub(crate) fn new(registry: Arc<Registry>, watchers: IntGauge) -> Self {
        Self { registry, watchers, shared: Mutex::default() }
    }

    /// A subscription to what `caller` reaches.
    pub(crate) fn subscribe(self: Arc<Self>, caller: Caller) -> Subscription {
        self.watchers.inc();
        Subscription {
            caller,
            newest: self.registry.store.newest(),
            stage: Stage::START,
            have: 0,
            subscriptions: self,
        }
    }

    /// A snapshot of the revision `at_least` or later.
    async fn snapshot(&self, at_least: u64) -> Result<Arc<Parts>> {
        let mut shared = self.shared.lock().await;
        let newest = *self.registry.store.newest().borrow();
        if let Some(parts) = shared.upgrade()
            && parts.revision >= at_least
            && newest.saturating_sub(parts.revision) <= SHARED_FOR
        {
            return Ok(parts);
        }
        let snapshot = self.registry.store.snapshot().await?;
        let reader = snapshot.read();
        let revision = reader.revision().await?;
        let (modules, functions) = (reader.modules().await?, reader.functions().await?);
        let parts = split(modules, functions, reader.scripts().await?);
        let parts = Arc::new(Parts { revision, parts });
        *shared = Arc::downgrade(&parts);
        Ok(parts)
    }
}

/// One follower's stream.
pub(crate) struct Subscription {
    subscriptions: Arc<SubscriptionServer>,
    caller: Caller,
    newest: watch::Receiver<u64>,
    /// The revision that the follower has.
    have: u64,
    stage: Stage,
}

enum Stage {
    /// The follower needs a snapshot of this revision or later.
    Start { at_least: u64 },
    /// The parts from `next` on have to be sent.
    Snapshot { parts: Arc<Parts>, next: usize },
    /// The follower has a snapshot; `batch` has to be sent.
    Changes { batch: VecDeque<LoggedChanges> },
}

impl Stage {
    /// The stage of a follower that has nothing.
    const START: Self = Self::Start { at_least: 0 };
}

impl Subscription {
    /// What comes next. Once it stands, a subscription outlives the absence of the database.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            match self.step().await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(RegistryError::Database(DatabaseError::Unavailable(cause))) if self.stands() => {
                    tracing::debug!(%cause, "a subscription waits for the database");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the follower has got a snapshot.
    fn stands(&self) -> bool {
        !matches!(self.stage, Stage::Start { at_least: 0 })
    }

    /// One step towards the next message.
    async fn step(&mut self) -> Result<Option<WatchResponse>> {
        match &mut self.stage {
            Stage::Start { at_least } => {
                let parts = self.subscriptions.snapshot(*at_least).await?;
                self.stage = Stage::Snapshot { parts, next: 0 };
                Ok(None)
            }
            Stage::Snapshot { parts, next } => {
                let revision = parts.revision;
                let part = reached_part(&self.caller, &parts.parts[*next]);
                *next += 1;
                if part.complete {
                    self.have = revision;
                    self.stage = Stage::Changes { batch: VecDeque::new() };
                }
                Ok(Some(WatchResponse { revision, body: Some(Body::Snapshot(part)) }))
            }
            Stage::Changes { batch } => match batch.pop_front() {
                Some(logged) => Ok(self.send(logged)),
                None => self.read().await.map(|()| None),
            },
        }
    }

    /// Waits until there is more than the follower has, and reads it.
    async fn read(&mut self) -> Result<()> {
        let have = self.have;
        // The sender lives as long as the hub.
        let _ = self.newest.wait_for(|newest| *newest > have).await;
        let batch = self.subscriptions.registry.store.read().changes_after(have, BATCH).await?;
        self.stage = match batch.first() {
            Some(first) if first.revision == have + 1 => Stage::Changes { batch: batch.into() },
            // It has been pruned.
            _ => Stage::Start { at_least: have + 1 },
        };
        Ok(())
    }

    fn send(&mut self, logged: LoggedChanges) -> Option<WatchResponse> {
        let Some(changes) = logged.changes else {
            self.stage = Stage::Start { at_least: logged.revision };
            return None;
        };
        self.have = logged.revision;
        let changes = reached_changes(&self.caller, changes);
        Some(WatchResponse { revision: logged.revision, body: Some(Body::Changes(changes)) })
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.subscriptions.watchers.dec();
    }
}

/// Splits a snapshot into parts that can be sent; the last one is complete.
fn split(modules: Vec<Module>, functions: Vec<Function>, scripts: Vec<Script>) -> Vec<Snapshot> {
    let mut parts = Vec::new();
    let mut part = Snapshot::default();
    let mut bytes = 0;
    let mut make_room = |part: &mut Snapshot, size: usize| {
        if (bytes > 0 && bytes + size > MAX_PART_BYTES) || part.functions.len() == MAX_PART_FUNCTIONS {
            parts.push(std::mem::take(part));
            bytes = 0;
        }
        bytes += size;
    };
    for module in modules {
        make_room(&mut part, module.encoded_len());
        part.modules.push(module);
    }
    for script in scripts {
        make_room(&mut part, script.encoded_len());
        part.scripts.push(script);
    }
    for function in functions {
        make_room(&mut part, function.encoded_len());
        part.functions.push(function);
    }
    part.complete = true;
    parts.push(part);
    parts
}

/// What the caller reaches of a part of a snapshot.
fn reached_part(caller: &Caller, part: &Snapshot) -> Snapshot {
    let modules = part.modules.iter().filter(|module| caller.reaches(&module.owner));
    let functions = part.functions.iter().filter(|function| caller.reaches(&function.owner));
    Snapshot {
        modules: modules.cloned().collect(),
        functions: functions.cloned().collect(),
        scripts: part.scripts.clone(),
        complete: part.complete,
    }
}

/// What the caller reaches of the changes of a revision: nothing, perhaps. The revision counts for
/// everyone.
fn reached_changes(caller: &Caller, mut changes: ChangeSet) -> ChangeSet {
    changes.changes.retain(|change| {
        let owner = match &change.change {
            Some(Change::ModulePut(module)) => &module.owner,
            Some(Change::ModuleDeleted(module)) => &module.owner,
            Some(Change::FunctionPut(function)) => &function.owner,
            Some(Change::FunctionDeleted(function)) => &function.owner,
            // Scripts are everybody's.
            Some(Change::ScriptPut(_) | Change::ScriptDeleted(_)) | None => return true,
        };
        caller.reaches(owner)
    });
    changes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_snapshot_is_split_and_only_its_last_part_is_complete() {
        let functions = |count: usize, padding: usize| {
            let function = Function { name: "a".repeat(padding), ..Function::default() };
            vec![function; count]
        };
        let cases = [(0, 1, 1), (500, 1, 1), (501, 1, 2), (1500, 1, 3), (5, 3 << 20, 5)];
        for (count, padding, expected) in cases {
            let parts = split(vec![Module::default()], functions(count, padding), vec![Script::default()]);
            let complete = parts.iter().filter(|part| part.complete).count();
            let sent: usize = parts.iter().map(|part| part.functions.len()).sum();
            assert_eq!((parts.len(), complete, sent), (expected, 1, count), "{count} functions");
            assert!(parts.last().is_some_and(|part| part.complete));
        }
    }
}
