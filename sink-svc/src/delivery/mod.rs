//! From the outbox to the stores.
//!
//! - `task`: delivers for one binding that this replica holds
//! - `connection`: whether its store takes results, as its status shows it
//! - `attempt`: an attempt, as its trace tells it
//! - `settlement`: what is done with a result after an attempt
//! - `queue`, `reading`: what it has read of the outbox
//! - `breaker`: leaves alone who is away
//! - `removed`: finds results whose binding is gone

mod attempt;
mod breaker;
mod connection;
mod queue;
mod reading;
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
use crate::kinds::Http;
use crate::metrics::Metrics;
use crate::outbox::{DeadLettered, Outbox};
use crate::trace::Stores;

/// Why results of a removed binding die.
pub(crate) const REMOVED: &str = "its sink was removed";
/// Results that are buried with one transaction.
const BURIED_AT_ONCE: u64 = 500;
/// How long what is on its way may take when a binding stops.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// What all couriers share.
#[derive(Debug)]
pub(crate) struct DeliveryContext {
    outbox: Outbox,
    http: Http,
    breakers: Breakers,
    metrics: Metrics,
    stores: Stores,
}

impl DeliveryContext {
    pub(crate) fn new(outbox: Outbox, http: Http, metrics: Metrics, stores: Stores) -> Self {
        let breakers = Breakers::new(metrics.breaker_open.clone());
        Self { outbox, http, breakers, metrics, stores }
    }

    /// Delivers for a binding until its tenure ends.
    pub(crate) async fn run(self: Arc<Self>, binding: FunctionBinding, held: HeldBinding) {
        let id = binding.binding.as_ref().map(|binding| binding.id.clone()).unwrap_or_default();
        let kind = binding.binding.as_ref().map(|binding| binding.r#type.clone()).unwrap_or_default();
        let mut task = DeliveryTask::new(Arc::clone(&self), binding, &held.report);
        let end = task.run(&held).await;
        if tokio::time::timeout(FINISH_TIMEOUT, task.finish()).await.is_err() {
            tracing::debug!(binding = id, "what is on its way is not awaited; it is delivered again");
        }
        self.outbox.forget_arrivals(&id);
        self.stores.remove(&id);
        if end == End::Removed
            && let Err(error) = self.bury_all(&id, &kind).await
        {
            tracing::warn!(binding = id, %error, "results of a removed sink wait; they are looked for later");
        }
    }

    /// Makes all results of a removed binding dead letters.
    async fn bury_all(&self, binding_id: &str, kind: &str) -> Result<()> {
        loop {
            let waiting = self.outbox.attempts(binding_id, BURIED_AT_ONCE).await?;
            if waiting.is_empty() {
                return Ok(());
            }
            let dead_lettered = waiting
                .into_iter()
                .map(|(seq, attempts)| DeadLettered::new(seq, attempts, REMOVED.to_owned()));
            let count = self.outbox.bury(dead_lettered.collect()).await?;
            self.metrics.dead.with_label_values(&[kind]).inc_by(count);
        }
    }

    /// Writes what became of results, however long that takes.
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
            let count = self.persist(|| self.outbox.bury(dead_lettered.clone())).await;
            let reason = dead_lettered.first().map(|dead_lettered| dead_lettered.reason.as_str());
            tracing::warn!(kind, count, reason, "results became dead letters");
            metrics.dead.with_label_values(&[kind]).inc_by(count);
        }
    }

    /// Writes again and again while the database is away. Gives how many rows it concerned.
    async fn persist<F: Future<Output = Result<u64>>>(&self, write: impl Fn() -> F) -> u64 {
        let mut backoff = Backoff::reconnect();
        loop {
            match write().await {
                Ok(count) => return count,
                // The rows are still there; what they say is found out again.
                Err(SinkError::Stopping) => return 0,
                Err(error) => tracing::warn!(%error, "what became of results is not written yet"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }
}
