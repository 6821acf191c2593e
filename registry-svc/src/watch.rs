//! Watches of the registry: each one streams a snapshot, followed by all changes.
//!
//! A subscription pulls: it reads the change log a few revisions at a time, as fast as its watcher receives
//! them, so that a slow watcher needs no memory. If the revisions it needs have been pruned, it starts over
//! with a new snapshot. Subscriptions that start at about the same time share one snapshot.

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

/// The maximum number of functions in one part of a snapshot.
const MAX_PART_FUNCTIONS: usize = 500;
/// The approximate maximum size of one part of a snapshot. A single item may be larger.
const MAX_PART_BYTES: usize = 4 << 20;
/// The number of revisions that a subscription reads at once.
const BATCH: u64 = 32;
/// A shared snapshot may be this many revisions old. The subscription then sends the changes since.
const SHARED_FOR: u64 = 100;

/// Serves all subscriptions of this process.
pub(crate) struct SubscriptionServer {
    registry: Arc<Registry>,
    watchers: IntGauge,
    /// The last snapshot, as long as a subscription is sending it.
    shared: Mutex<Weak<Parts>>,
}

/// A snapshot, split into parts, and its revision.
struct Parts {
    revision: u64,
    parts: Vec<Snapshot>,
}

impl SubscriptionServer {
    pub(crate) fn new(registry: Arc<Registry>, watchers: IntGauge) -> Self {
        Self { registry, watchers, shared: Mutex::default() }
    }

    /// Subscribes to what `caller` can access.
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

    /// A snapshot of revision `at_least` or later.
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

/// The stream of one watcher.
pub(crate) struct Subscription {
    subscriptions: Arc<SubscriptionServer>,
    caller: Caller,
    newest: watch::Receiver<u64>,
    /// The revision that the watcher has.
    have: u64,
    stage: Stage,
}

enum Stage {
    /// The watcher needs a snapshot of this revision or later.
    Start { at_least: u64 },
    /// The parts starting with `next` have to be sent.
    Snapshot { parts: Arc<Parts>, next: usize },
    /// The watcher has a snapshot; `batch` has to be sent.
    Changes { batch: VecDeque<LoggedChanges> },
}

impl Stage {
    /// The stage of a new subscription.
    const START: Self = Self::Start { at_least: 0 };
}

impl Subscription {
    /// Waits for the next message. Once established, a subscription survives database outages.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            match self.step().await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(RegistryError::Database(DatabaseError::Unavailable(cause))) if self.is_established() => {
                    tracing::debug!(%cause, "a subscription is waiting for the database");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the subscription has begun to send a snapshot.
    fn is_established(&self) -> bool {
        !matches!(self.stage, Stage::Start { at_least: 0 })
    }

    /// Advances by one step; `None` if there is no message to send yet.
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

    /// Waits for revisions that the watcher does not have and reads them.
    async fn read(&mut self) -> Result<()> {
        let have = self.have;
        // The sender lives as long as the store, so this cannot fail.
        let _ = self.newest.wait_for(|newest| *newest > have).await;
        let batch = self.subscriptions.registry.store.read().changes_after(have, BATCH).await?;
        self.stage = match batch.first() {
            Some(first) if first.revision == have + 1 => Stage::Changes { batch: batch.into() },
            // The next revision has been pruned.
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

/// Splits a snapshot into parts that fit into a message; only the last one is marked complete.
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

/// The portion of a snapshot's part that the caller can access.
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

/// The changes of a revision that the caller can access. They may be empty: every watcher receives every
/// revision.
fn reached_changes(caller: &Caller, mut changes: ChangeSet) -> ChangeSet {
    changes.changes.retain(|change| {
        let owner = match &change.change {
            Some(Change::ModulePut(module)) => &module.owner,
            Some(Change::ModuleDeleted(module)) => &module.owner,
            Some(Change::FunctionPut(function)) => &function.owner,
            Some(Change::FunctionDeleted(function)) => &function.owner,
            // Scripts are visible to all callers.
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
