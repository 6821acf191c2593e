//! Lets invocations in, as many at once as configured, and none while the worker stops.

use std::sync::Arc;

use mesh::metrics::show_permits;
use prometheus::Registry;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::error::Error;
use crate::work::{Counted, Kind, Work};

/// The door. Who is refused has not started.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    places: Arc<Semaphore>,
    work: Work,
    draining: CancellationToken,
}

/// A place among those that run, held until it is dropped. As long it counts as work.
#[derive(Debug)]
pub(crate) struct Place {
    _counted: Counted,
    _permit: OwnedSemaphorePermit,
}

impl Admission {
    /// Who is let in is counted in `work`.
    pub(crate) fn new(max_concurrent: usize, work: Work, draining: CancellationToken) -> Self {
        Self { places: Arc::new(Semaphore::new(max_concurrent)), work, draining }
    }

    /// Shows in `registry` how many of the places are taken.
    pub(crate) fn show(&self, registry: &Registry, max_concurrent: usize) {
        show_permits(registry, "invocations", max_concurrent, &self.places);
    }

    /// A place for an invocation of this kind.
    pub(crate) fn admit(&self, kind: Kind, capacity_kb: u64) -> Result<Place, Error> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        let permit = Arc::clone(&self.places).try_acquire_owned().map_err(|_| Error::Overloaded)?;
        Ok(Place { _counted: self.work.begin(kind, capacity_kb), _permit: permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_and_none_while_draining() {
        let (work, draining) = (Work::default(), CancellationToken::new());
        let admission = Admission::new(1, work.clone(), draining.clone());
        let admit = || admission.admit(Kind { scheduler_id: "s".into(), tag: "t".into() }, 64);
        let first = admit().expect("a free place");
        assert_eq!(admit().expect_err("full"), Error::Overloaded);
        assert_eq!(work.now().first().map(|work| work.running), Some(1), "who is refused does not count");
        drop(first);
        assert_eq!(work.now(), []);
        drop(admit().expect("a free place again"));
        draining.cancel();
        assert_eq!(admit().expect_err("draining"), Error::Draining);
        assert_eq!(work.now(), []);
    }
}
