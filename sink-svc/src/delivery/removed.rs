//! Results whose binding was removed.
//!
//! When a binding is removed while it runs, the registry tells the replica that runs it. This module finds
//! bindings that are removed while no replica runs them, and late results: there are pending results, and the
//! registry has not had the binding for a while.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use mesh::bindings::{StatusBoard, find_existing};
use mesh::channel::Channel;
use mesh::deadline::Deadline;
use tokio::time::Instant;

use super::DeliveryContext;
use crate::error::Result;

const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// How long the registry may take to answer.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(2);
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

impl RemovedBindings {
    pub(crate) fn new(context: Arc<DeliveryContext>, board: StatusBoard, after: Duration) -> Self {
        Self { context, board, after, missing: HashMap::new() }
    }

    /// Runs forever.
    pub(crate) async fn keep_dead_lettering(mut self, registry: Channel) {
        loop {
            tokio::time::sleep(SWEEP_INTERVAL).await;
            let mut waiting = self.context.outbox.with_pending();
            waiting.retain(|id| self.board.get(id).is_none());
            // Most of the time, the registry need not be asked.
            let existing = match waiting.is_empty() {
                true => Ok(HashSet::new()),
                false => find_existing(&registry, waiting.clone(), Deadline::after(ANSWER_TIMEOUT)).await,
            };
            let swept = match existing {
                Ok(existing) => {
                    waiting.retain(|id| !existing.contains(id));
                    self.sweep(waiting).await.map_err(|error| error.to_string())
                }
                Err(error) => {
                    // What the registry had in the meantime is not known.
                    self.missing.clear();
                    Err(error.to_string())
                }
            };
            if let Err(error) = swept {
                tracing::debug!(error, "results of removed sinks are not dead-lettered yet");
            }
        }
    }

    /// Dead-letters the results of those of these bindings that have been missing for long enough.
    async fn sweep(&mut self, missing: Vec<String>) -> Result<()> {
        self.missing.retain(|id, _| missing.contains(id));
        for id in missing {
            let since = *self.missing.entry(id.clone()).or_insert_with(Instant::now);
            if since.elapsed() >= self.after {
                tracing::info!(binding = id, "the sink was removed; its results become dead letters");
                self.context.dead_letter_all(&id, UNKNOWN_KIND).await?;
            }
        }
        Ok(())
    }
}
