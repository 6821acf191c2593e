//! Admission control: as many invocations at once as configured, and none while the worker drains.

use std::sync::Arc;

use mesh::metrics::show_permits;
use prometheus::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::running::{InvocationKey, RunningGuard, RunningInvocations};

/// Admits invocations. One that it refuses has not started.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    permits: Arc<Semaphore>,
    running: RunningInvocations,
    draining: CancellationToken,
}

/// An admitted invocation. It counts as running until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    _running: RunningGuard,
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// Admits `max_concurrent` invocations at once, and counts them in `running`.
    pub(crate) fn new(
        max_concurrent: usize,
        running: RunningInvocations,
        draining: CancellationToken,
    ) -> Self {
        Self { permits: Arc::new(Semaphore::new(max_concurrent)), running, draining }
    }

    /// Registers the metrics of its permits.
    pub(crate) fn register_metrics(&self, registry: &Registry, max_concurrent: usize) {
        show_permits(registry, "invocations", max_concurrent, &self.permits);
    }

    /// Admits an invocation with this key, unless the limit is reached.
    pub(crate) fn admit(&self, key: InvocationKey, capacity_kb: u64) -> Result<Admitted, Error> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| Error::Overloaded)?;
        Ok(Admitted { _running: self.running.begin(key, capacity_kb), _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn admits_up_to_the_limit_and_none_while_draining() {
        let (running, draining) = (RunningInvocations::default(), CancellationToken::new());
        let admission = Admission::new(1, running.clone(), draining.clone());
        let admit = || admission.admit(InvocationKey { scheduler_id: "s".into(), tag: "t".into() }, 64);
        let first = admit().expect("a free permit");
        assert_eq!(admit().expect_err("full"), Error::Overloaded);
        assert_eq!(
            running.snapshot().first().map(|work| work.running),
            Some(1),
            "what is refused does not count"
        );
        drop(first);
        assert_eq!(running.snapshot(), []);
        drop(admit().expect("a free permit again"));
        draining.cancel();
        assert_eq!(admit().expect_err("draining"), Error::Draining);
        assert_eq!(running.snapshot(), []);
    }
}
