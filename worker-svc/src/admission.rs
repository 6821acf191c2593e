//! Lets invocations in, as many at once as configured, and none while the worker stops.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::error::Error;

/// The door. Who is refused has not started.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    draining: CancellationToken,
}

impl Admission {
    pub(crate) fn new(max_concurrent: usize, draining: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(max_concurrent)), draining }
    }

    /// A place among those that run, held until it is dropped.
    pub(crate) fn admit(&self) -> Result<OwnedSemaphorePermit, Error> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::Overloaded)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_and_none_while_draining() {
        let draining = CancellationToken::new();
        let admission = Admission::new(1, draining.clone());
        let first = admission.admit().expect("a free place");
        assert_eq!(admission.admit().expect_err("full"), Error::Overloaded);
        drop(first);
        drop(admission.admit().expect("a free place again"));
        draining.cancel();
        assert_eq!(admission.admit().expect_err("draining"), Error::Draining);
    }
}
