//! Delivers results from the outbox to the stores.
//!
//! - `task`: delivers for one binding that this replica holds
//! - `connection`: whether its store accepts results, for its status
//! - `attempt`: an attempt, with its span
//! - `settlement`: decides what happens to results after an attempt
//! - `queue`, `read_cursor`: the results that it has read from the outbox
//! - `breaker`: circuit breakers
//! - `removed`: finds results whose binding was removed

mod attempt;
mod breaker;
mod connection;
mod queue;
mod read_cursor;
mod removed;
mod settlement;
mod task;

use std::sync::Arc;
use std::time::Duration;

use mesh::backoff::Backoff;
use mesh::bindings::{End, HeldBinding};
use proto::registry::v1::FunctionBinding;

use self::breaker::Breakers;
pub(crate) use self::removed::RemovedBindings;
use self::settlement::Settlement;
use self::task::DeliveryTask;
use crate::error::{Result, SinkError};
use crate::kinds::Network;
use crate::metrics::Metrics;
use crate::outbox::{DeadLettered, Outbox};
use crate::trace::Stores;

/// The reason of dead letters whose binding was removed.
pub(crate) const REMOVED: &str = "its sink was removed";
/// The maximum number of results that are dead-lettered in one transaction.
const DEAD_LETTER_BATCH: u64 = 500;
/// How long requests in flight may take when a binding stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// The state that all delivery tasks share.
#[derive(Debug)]
pub(crate) struct DeliveryContext {
    outbox: Outbox,
    network: Network,
    breakers: Breakers,
    metrics: Metrics,
    stores: Stores,
}

impl DeliveryContext {
    pub(crate) fn new(outbox: Outbox, network: Network, metrics: Metrics, stores: Stores) -> Self {
        let breakers = Breakers::new(metrics.breaker_open.clone());
        Self { outbox, network, breakers, metrics, stores }
    }

    /// Delivers for a binding for as long as this replica holds it.
    pub(crate) async fn run(self: Arc<Self>, binding: FunctionBinding, held: HeldBinding) {
        let id = binding.binding.as_ref().map(|binding| binding.id.clone()).unwrap_or_default();
        let kind = binding.binding.as_ref().map(|binding| binding.r#type.clone()).unwrap_or_default();
        let mut task = DeliveryTask::new(Arc::clone(&self), binding, &held.report);
        let end = task.run(&held).await;
        if tokio::time::timeout(FINISH_TIMEOUT, task.finish()).await.is_err() {
            tracing::debug!(
                binding = id,
                "requests in flight are abandoned; their results are delivered again"
            );
        }
        self.outbox.remove_arrivals(&id);
        self.stores.remove(&id);
        if end == End::Removed
            && let Err(error) = self.dead_letter_all(&id, &kind).await
        {
            tracing::warn!(binding = id, %error, "results of a removed sink are not dead-lettered yet");
        }
    }

    /// Dead-letters all pending results of a removed binding.
    async fn dead_letter_all(&self, binding_id: &str, kind: &str) -> Result<()> {
        loop {
            let waiting = self.outbox.attempts(binding_id, DEAD_LETTER_BATCH).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            let dead_lettered = waiting
                .into_iter()
                .map(|(seq, attempts)| DeadLettered::new(seq, attempts, REMOVED.to_owned()));
            let count = self.outbox.dead_letter(dead_lettered.collect()).await?;
            self.metrics.dead.with_label_values(&[kind]).inc_by(count);
        }
    }

    /// Writes a settlement, retrying until it succeeds.
    async fn record(&self, kind: &str, settlement: &Settlement) {
        let Settlement { delivered, postponed, dead_lettered } = settlement;
        let metrics = &self.metrics;
        if !delivered.is_empty() {
            let count = self.persist(|| self.outbox.settle(delivered.clone())).await;
            metrics.delivered.with_label_values(&[kind]).inc_by(count);
        }
        if !postponed.is_empty() {
            self.persist(|| self.outbox.postpone(postponed.clone())).await;
        }
        if !dead_lettered.is_empty() {
            let count = self.persist(|| self.outbox.dead_letter(dead_lettered.clone())).await;
            let reason = dead_lettered.first().map(|dead_lettered| dead_lettered.reason.as_str());
            tracing::warn!(kind, count, reason, "results became dead letters");
            metrics.dead.with_label_values(&[kind]).inc_by(count);
        }
    }

    /// Retries a write until it succeeds or the sink stops. Returns how many rows it has changed.
    async fn persist<F: Future<Output = Result<u64>>>(&self, write: impl Fn() -> F) -> u64 {
        let mut backoff = Backoff::reconnect();
        loop {
            match write().await {
                Ok(count) => return count,
                // The rows are unchanged, so their results are delivered again.
                Err(SinkError::Stopping) => return 0,
                Err(error) => tracing::warn!(%error, "the outcomes of results are not written yet"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}
