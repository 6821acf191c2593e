//! Results whose binding was removed.
//!
//! When a binding is removed while it runs, the registry tells the replica that runs it. This module finds
//! bindings that are removed while no replica runs them, and late results: there are pending results, and the
//! registry, which is watched without a gap, has not had the binding for a while. So it cannot be a new
//! binding that is not known yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mesh::bindings::StatusBoard;
use mesh::channel::Channel;
use mesh::follow::{self, Update};
use mesh::health::Readiness;
use parking_lot::Mutex;
use proto::registry::v1::change::Change;
use proto::registry::v1::{Binding, Function};
use tokio::time::Instant;

use super::DeliveryContext;
use crate::error::Result;

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Stands for the kind of a removed binding, which is not known here.
const UNKNOWN_KIND: &str = "unknown";

/// Dead-letters results of removed bindings.
#[derive(Debug)]
pub(crate) struct RemovedBindings {
    context: Arc<DeliveryContext>,
    board: StatusBoard,
    /// How long a binding must have been missing from the registry.
    after: Duration,
    /// Bindings that have pending results and are missing from the registry, and since when.
    missing: HashMap<String, Instant>,
}

/// The ids of the existing sinks, by function.
#[derive(Debug, Default)]
struct Sinks(HashMap<String, HashSet<String>>);

impl Sinks {
    fn apply(&mut self, update: Update) {
        match update {
            Update::Snapshot(snapshot, _) => {
                self.0 = snapshot.functions.into_iter().map(sinks_of).collect();
            }
            Update::Changes(changes, _) => changes.into_iter().for_each(|change| match change.change {
                Some(Change::FunctionPut(function)) => self.0.extend([sinks_of(function)]),
                Some(Change::FunctionDeleted(function)) => drop(self.0.remove(&function.id)),
                _ => {}
            }),
        }
    }

    fn contains(&self, id: &str) -> bool {
        self.0.values().any(|sinks| sinks.contains(id))
    }
}

fn sinks_of(function: Function) -> (String, HashSet<String>) {
    let ids = function.sinks.into_iter().map(|Binding { id, .. }| id);
    (function.id, ids.collect())
}

impl RemovedBindings {
    pub(crate) fn new(context: Arc<DeliveryContext>, board: StatusBoard, after: Duration) -> Self {
        Self { context, board, after, missing: HashMap::new() }
    }

    /// Runs forever.
    pub(crate) async fn keep_dead_lettering(mut self, registry: Channel) {
        let sinks = Arc::new(Mutex::new(Sinks::default()));
        let knowledge = Readiness::default();
        let following = knowledge.condition("follows the registry");
        let _ = knowledge.serving();
        let follow = follow::follow(registry, following, {
            let sinks = Arc::clone(&sinks);
            move |update| sinks.lock().apply(update)
        });
        let sweep = async {
            loop {
                tokio::time::sleep(SWEEP_INTERVAL).await;
                if !knowledge.missing().is_empty() {
                    // What the registry had in the meantime is not known.
                    self.missing.clear();
                } else if let Err(error) = self.sweep(&sinks).await {
                    tracing::debug!(%error, "results of removed sinks are not dead-lettered yet");
                }
            }
        };
        tokio::join!(follow, sweep);
    }

    async fn sweep(&mut self, sinks: &Mutex<Sinks>) -> Result<()> {
        let mut waiting = self.context.outbox.with_pending();
        {
            let sinks = sinks.lock();
            waiting.retain(|id| self.board.get(id).is_none() && !sinks.contains(id));
        }
        self.missing.retain(|id, _| waiting.contains(id));
        for id in waiting {
            let since = *self.missing.entry(id.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= self.after {
                tracing::info!(binding = id, "the sink was removed; its results become dead letters");
                self.context.dead_letter_all(&id, UNKNOWN_KIND).await?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::{Change as Changed, FunctionDeleted, Snapshot};

    use super::*;

    fn function(id: &str, sinks: &[&str]) -> Function {
        let sinks = sinks.iter().map(|id| Binding { id: (*id).to_owned(), ..Binding::default() });
        Function { id: id.into(), sinks: sinks.collect(), ..Function::default() }
    }

    fn change(change: Change) -> Update {
        Update::Changes(vec![Changed { change: Some(change) }], 1)
    }

    #[test]
    fn existing_sinks_follow_the_registry() {
        let mut sinks = Sinks::default();
        let functions = vec![function("f", &["a", "b"]), function("g", &["c"])];
        sinks.apply(Update::Snapshot(Snapshot { functions, ..Snapshot::default() }, 1));
        assert!(sinks.contains("a") && sinks.contains("c"));
        sinks.apply(change(Change::FunctionPut(function("f", &["b", "d"]))));
        assert!(!sinks.contains("a") && sinks.contains("b") && sinks.contains("d"));
        let deleted = FunctionDeleted { id: "g".into(), ..FunctionDeleted::default() };
        sinks.apply(change(Change::FunctionDeleted(deleted)));
        assert!(!sinks.contains("c"));
        sinks.apply(Update::Snapshot(Snapshot::default(), 2));
        assert!(!sinks.contains("b"));
    }
}
