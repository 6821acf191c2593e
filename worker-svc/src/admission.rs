//! Admission control: as many invocations at once as configured, shared fairly by modules, and none while the worker
//! drains.

use std::sync::Arc;

use mesh::fair_limit::{FairLimit, FairPermit, Refusal};
use mesh::keyed_limit::{KeyedLimit, KeyedPermit};
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::config::Config;
use crate::error::Error;
use crate::running::{InvocationKey, RunningGuard, RunningInvocations};

/// Admits invocations. One that it refuses has not started.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    permits: FairLimit,
    /// By the id of the function.
    functions: KeyedLimit<String>,
    running: RunningInvocations,
    draining: CancellationToken,
}

/// An admitted invocation. It counts as running until this is dropped.
#[derive(Debug)]
pub(crate) struct Admitted {
    _running: RunningGuard,
    _of_function: KeyedPermit<String>,
    permit: FairPermit,
}

impl Admitted {
    /// The module of the function.
    pub(crate) fn module(&self) -> &Arc<str> {
        self.permit.module()
    }
}

impl Admission {
    /// Admits as many invocations at once as `config` allows, and counts them in `running`.
    pub(crate) fn new(config: &Config, running: RunningInvocations, draining: CancellationToken) -> Self {
        Self {
            permits: FairLimit::new(config.max_concurrent, config.max_percent_per_module),
            functions: KeyedLimit::new(config.max_concurrent_per_function),
            running,
            draining,
        }
    }

    /// The permits of all running invocations.
    pub(crate) fn permits(&self) -> &FairLimit {
        &self.permits
    }

    /// Registers the metrics of its permits.
    pub(crate) fn register_metrics(&self, registry: &Registry) {
        self.permits.show(registry, "invocations");
    }

    /// Admits an invocation with this key of a function in `module`, unless a limit is reached.
    pub(crate) fn admit(
        &self,
        key: InvocationKey,
        module: &str,
        function_id: &str,
        capacity_kb: u64,
    ) -> Result<Admitted, Error> {
        if self.draining.is_cancelled() {
            return Err(Error::Draining);
        }
        let of_function = self.functions.try_acquire(function_id);
        let of_function = of_function.ok_or(Error::FunctionConcurrency { limit: self.functions.max() })?;
        let permit = self.permits.try_acquire(module).map_err(|refusal| match refusal {
            Refusal::Full => Error::Overloaded,
            Refusal::Share => Error::ModuleShare(module.to_owned()),
        })?;
        let running = self.running.begin(key, capacity_kb);
        Ok(Admitted { _running: running, _of_function: of_function, permit })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(config: &Config) -> (Admission, RunningInvocations, CancellationToken) {
        let (running, draining) = (RunningInvocations::default(), CancellationToken::new());
        (Admission::new(config, running.clone(), draining.clone()), running, draining)
    }

    fn admit(admission: &Admission, module: &str, function_id: &str) -> Result<Admitted, Error> {
        let key = InvocationKey { scheduler_id: "s".into(), tag: "t".into() };
        admission.admit(key, module, function_id, 64)
    }

    #[test]
    fn admits_up_to_the_limit_and_none_while_draining() {
        let config = Config { max_concurrent: 1, ..Config::default() };
        let (admission, running, draining) = admission(&config);
        let first = admit(&admission, "m", "f").expect("a free permit");
        assert_eq!(admit(&admission, "m", "f").expect_err("full"), Error::Overloaded);
        assert_eq!(
            running.snapshot().first().map(|work| work.running),
            Some(1),
            "what is refused does not count"
        );
        drop(first);
        assert_eq!(running.snapshot(), []);
        drop(admit(&admission, "m", "f").expect("a free permit again"));
        draining.cancel();
        assert_eq!(admit(&admission, "m", "f").expect_err("draining"), Error::Draining);
        assert_eq!(running.snapshot(), []);
    }

    #[test]
    fn a_module_does_not_use_all_permits_and_a_function_no_more_than_its_limit() {
        let config = Config { max_concurrent: 16, max_concurrent_per_function: 4, ..Config::default() };
        let (admission, ..) = admission(&config);
        let mut held = Vec::new();
        let mut take = |function: &str| loop {
            match admit(&admission, "busy", function) {
                Ok(admitted) => held.push(admitted),
                Err(error) => return (held.len(), error),
            }
        };
        assert_eq!(take("a"), (4, Error::FunctionConcurrency { limit: 4 }));
        assert_eq!(take("b"), (8, Error::FunctionConcurrency { limit: 4 }));
        take("c");
        assert_eq!(take("d"), (13, Error::ModuleShare("busy".into())));
        drop(admit(&admission, "other", "e").expect("free for other modules"));
        drop(held);
        assert_eq!(admission.functions.keys(), 0);
    }
}
