//! Watches of the registry: each one streams a snapshot, followed by all changes.
//!
//! A subscription pulls: it reads the change log a few revisions at a time, as fast as its watcher receives
//! them, so that a slow watcher needs no memory. If the revisions it needs have been pruned, it starts over
//! with a new snapshot. Subscriptions that start at about the same time share one snapshot.

mod snapshot;

use std::collections::VecDeque;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mesh::Caller;
use mesh::backoff::Backoff;
use prometheus::IntGauge;
use proto::registry::v1::change::Change;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::{ChangeSet, Snapshot, WatchResponse};
use tokio::sync::{Mutex, watch};

use self::snapshot::SharedSnapshot;
use crate::error::{RegistryError, Result};
use crate::registry::Registry;
use crate::store::{DatabaseError, LoggedChanges};

/// The number of revisions that a subscription reads at once.
const BATCH: u64 = 32;
/// A shared snapshot may be this many revisions old. The subscription then sends the changes since.
const SHARED_FOR: u64 = 100;

/// Serves all subscriptions of this process.
pub(crate) struct SubscriptionServer {
    registry: Arc<Registry>,
    watchers: IntGauge,
    /// The last snapshot, as long as a subscription is sending it.
    shared: Mutex<Weak<SharedSnapshot>>,
}

impl SubscriptionServer {
    pub(crate) fn new(registry: Arc<Registry>, watchers: IntGauge) -> Self {
        Self { registry, watchers, shared: Mutex::default() }
    }

    /// Subscribes to what `caller` can access, or only to the revisions.
    pub(crate) fn subscribe(self: Arc<Self>, caller: Caller, only_revisions: bool) -> Subscription {
        self.watchers.inc();
        Subscription {
            caller,
            only_revisions,
            newest: self.registry.store.newest(),
            stage: Stage::START,
            have: 0,
            subscriptions: self,
        }
    }

    /// A snapshot of revision `at_least` or later.
    async fn snapshot(&self, at_least: u64) -> Result<Arc<SharedSnapshot>> {
        let mut shared = self.shared.lock().await;
        let newest = *self.registry.store.newest().borrow();
        if let Some(snapshot) = shared.upgrade()
            && snapshot.revision >= at_least
            && newest.saturating_sub(snapshot.revision) <= SHARED_FOR
            && !snapshot.has_failed()
        {
            return Ok(snapshot);
        }
        let snapshot = Arc::new(SharedSnapshot::begin(self.registry.store.snapshot().await?).await?);
        *shared = Arc::downgrade(&snapshot);
        Ok(snapshot)
    }
}

/// The stream of one watcher.
pub(crate) struct Subscription {
    subscriptions: Arc<SubscriptionServer>,
    caller: Caller,
    /// Sends no contents.
    only_revisions: bool,
    newest: watch::Receiver<u64>,
    /// The revision that the watcher has.
    have: u64,
    stage: Stage,
}

enum Stage {
    /// The watcher needs a snapshot of this revision or later.
    Start { at_least: u64 },
    /// The parts starting with `next` have to be sent.
    Snapshot { snapshot: Arc<SharedSnapshot>, next: usize },
    /// The watcher has a snapshot; `batch` has to be sent.
    Changes { batch: VecDeque<LoggedChanges> },
}

impl Stage {
    /// The stage of a new subscription.
    const START: Self = Self::Start { at_least: 0 };
}

impl Subscription {
    /// Waits for the next message. Once the watcher has a snapshot, the subscription survives database outages.
    pub(crate) async fn next(&mut self) -> Result<WatchResponse> {
        let mut backoff = Backoff::new(Duration::from_millis(100), Duration::from_secs(1));
        loop {
            match self.step().await {
                Ok(Some(message)) => return Ok(message),
                Ok(None) => {}
                Err(RegistryError::Database(DatabaseError::Unavailable(cause))) if self.can_wait() => {
                    tracing::debug!(%cause, "a subscription is waiting for the database");
                    tokio::time::sleep(backoff.next_wait()).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Whether the watcher has something and nothing is missing in it: it has a snapshot, and no part of the next one.
    fn can_wait(&self) -> bool {
        !matches!(self.stage, Stage::Start { at_least: 0 } | Stage::Snapshot { .. })
    }

    /// Advances by one step; `None` if there is no message to send yet.
    async fn step(&mut self) -> Result<Option<WatchResponse>> {
        match &mut self.stage {
            Stage::Start { .. } if self.only_revisions => self.start_with_revision().await.map(Some),
            Stage::Start { at_least } => {
                let snapshot = self.subscriptions.snapshot(*at_least).await?;
                self.stage = Stage::Snapshot { snapshot, next: 0 };
                Ok(None)
            }
            Stage::Snapshot { snapshot, next } => {
                let revision = snapshot.revision;
                let part = reached_part(&self.caller, &*snapshot.part(*next).await?);
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

    /// Begins with an empty snapshot.
    async fn start_with_revision(&mut self) -> Result<WatchResponse> {
        let revision = self.subscriptions.registry.store.read().revision().await?;
        self.have = revision;
        self.stage = Stage::Changes { batch: VecDeque::new() };
        let empty = Snapshot { complete: true, ..Snapshot::default() };
        Ok(WatchResponse { revision, body: Some(Body::Snapshot(empty)) })
    }

    /// Waits for revisions that the watcher does not have and reads them.
    async fn read(&mut self) -> Result<()> {
        let have = self.have;
        // The sender lives as long as the store, so this cannot fail.
        let _ = self.newest.wait_for(|newest| *newest > have).await;
        if self.only_revisions {
            let revision = *self.newest.borrow();
            let batch = [LoggedChanges { revision, changes: Some(ChangeSet::default()) }].into();
            self.stage = Stage::Changes { batch };
            return Ok(());
        }
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
