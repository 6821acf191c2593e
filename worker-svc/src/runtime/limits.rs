//! The limits of one invocation, and the measurement of its memory.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mesh::wasm::MAX_TABLE_ELEMENTS;
use prometheus::IntGauge;
use proto::registry::v1;
use wasmtime::ResourceLimiter;

use crate::config::Config;

/// The limits of one invocation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Linear memory in bytes.
    pub(crate) memory_bytes: u64,
    /// Wall-clock time.
    pub(crate) timeout: Duration,
    /// Result or error message, in bytes.
    pub(crate) output_bytes: u64,
    /// Log lines, in bytes.
    pub(crate) log_bytes: usize,
}

impl Limits {
    /// Those of the worker: the default, and the most.
    pub(crate) fn of_worker(config: &Config) -> Self {
        Self {
            memory_bytes: config.memory_bytes,
            timeout: Duration::from_millis(config.timeout_ms),
            output_bytes: config.output_bytes,
            log_bytes: config.log_bytes,
        }
    }

    /// The limits of a function on this worker. 0 means the worker's limit.
    pub(crate) fn of_function(self, function: &v1::Limits) -> Self {
        let effective = |own: u64, workers: u64| if own == 0 { workers } else { own.min(workers) };
        let timeout_ms = u64::try_from(self.timeout.as_millis()).unwrap_or(u64::MAX);
        Self {
            memory_bytes: effective(function.memory_bytes, self.memory_bytes),
            timeout: Duration::from_millis(effective(function.timeout_ms, timeout_ms)),
            output_bytes: effective(function.output_bytes, self.output_bytes),
            log_bytes: self.log_bytes,
        }
    }
}

/// The memory for all guests together. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: Arc<AtomicU64>,
    /// Shows what is used.
    shown: IntGauge,
}

impl MemoryBudget {
    /// A budget of `limit` bytes, whose use `shown` shows.
    pub(crate) fn new(limit: u64, shown: IntGauge) -> Self {
        Self { limit, used: Arc::default(), shown }
    }

    /// Takes `bytes`, if so many are left.
    fn take(&self, bytes: usize) -> bool {
        let take = |used: u64| used.checked_add(bytes as u64).filter(|used| *used <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take).is_ok();
        if taken {
            self.shown.add(bytes as i64);
        }
        taken
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.shown.sub(bytes as i64);
    }
}

/// Why a guest did not get memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemoryRefusal {
    /// Its own limit.
    Limit,
    /// Nothing is left of the memory for all guests, so that it did not begin to run.
    NothingToStartWith { budget: u64 },
    /// Nothing is left of the memory for all guests.
    NothingLeft { budget: u64 },
}

/// Measures and limits a guest's memory and tables.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limit: u64,
    used: usize,
    /// What the last growth added, to be taken back if it fails.
    last_growth: usize,
    /// Whether its code runs.
    runs: bool,
    refusal: Option<MemoryRefusal>,
    budget: MemoryBudget,
}

impl MemoryMeter {
    /// Limits the memory to `limit` bytes, and takes it from `budget`.
    pub(crate) fn new(limit: u64, budget: MemoryBudget) -> Self {
        Self { limit, used: 0, last_growth: 0, runs: false, refusal: None, budget }
    }

    /// The guest's memory in bytes. It is also the peak, since WebAssembly never frees memory.
    pub(crate) fn used(&self) -> u64 {
        self.used as u64
    }

    /// Its instance is complete.
    pub(crate) fn begin_run(&mut self) {
        self.runs = true;
    }

    /// Why the guest did not get the memory that it last asked for in vain.
    pub(crate) fn refusal(&self) -> Option<MemoryRefusal> {
        self.refusal
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.last_growth = 0;
        if desired as u64 > self.limit {
            self.refusal = Some(MemoryRefusal::Limit);
            return Ok(false);
        }
        let growth = desired - current;
        if !self.budget.take(growth) {
            let budget = self.budget.limit;
            self.refusal = Some(match self.runs {
                true => MemoryRefusal::NothingLeft { budget },
                false => MemoryRefusal::NothingToStartWith { budget },
            });
            return Ok(false);
        }
        self.last_growth = growth;
        self.used += growth;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "cannot grow the memory of a guest");
        let growth = std::mem::take(&mut self.last_growth);
        self.budget.give_back(growth);
        self.used -= growth;
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS as usize)
    }
}

impl Drop for MemoryMeter {
    fn drop(&mut self) {
        self.budget.give_back(self.used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_functions_limits_are_capped_by_the_workers() {
        let workers = Limits {
            memory_bytes: 100,
            timeout: Duration::from_millis(200),
            output_bytes: 300,
            log_bytes: 400,
        };
        let asked = |memory_bytes, timeout_ms, output_bytes| {
            workers.of_function(&v1::Limits { memory_bytes, timeout_ms, output_bytes })
        };
        assert_eq!(asked(0, 0, 0), workers);
        assert_eq!(asked(1000, 1000, 1000), workers);
        let fewer =
            Limits { memory_bytes: 1, timeout: Duration::from_millis(2), output_bytes: 3, log_bytes: 400 };
        assert_eq!(asked(1, 2, 3), fewer);
    }

    fn budget(limit: u64) -> MemoryBudget {
        MemoryBudget::new(limit, IntGauge::new("total", "total").expect("well-formed"))
    }

    #[test]
    fn memory_is_counted_until_the_end() {
        let budget = budget(1000);
        let mut meter = MemoryMeter::new(100, budget.clone());
        assert!(meter.memory_growing(0, 60, None).expect("no error"));
        assert_eq!(meter.refusal(), None);
        assert!(!meter.memory_growing(60, 120, None).expect("no error"));
        assert_eq!(meter.refusal(), Some(MemoryRefusal::Limit));
        assert_eq!(budget.shown.get(), 60);
        assert!(meter.memory_growing(60, 90, None).expect("no error"));
        meter.memory_grow_failed(wasmtime::format_err!("no memory")).expect("no error");
        assert_eq!((budget.shown.get(), meter.used()), (60, 60));
        drop(meter);
        assert_eq!((budget.shown.get(), budget.used.load(Ordering::Relaxed)), (0, 0));
    }

    #[test]
    fn all_guests_share_a_budget() {
        let budget = budget(100);
        let [mut first, mut second] = [(); 2].map(|()| MemoryMeter::new(100, budget.clone()));
        assert!(first.memory_growing(0, 60, None).expect("no error"));
        assert!(!second.memory_growing(0, 60, None).expect("no error"));
        assert_eq!(second.refusal(), Some(MemoryRefusal::NothingToStartWith { budget: 100 }));
        assert!(second.memory_growing(0, 40, None).expect("no error"));
        second.begin_run();
        assert!(!second.memory_growing(40, 41, None).expect("no error"));
        assert_eq!(second.refusal(), Some(MemoryRefusal::NothingLeft { budget: 100 }));
        // What wasmtime refuses after that was not taken.
        second.memory_grow_failed(wasmtime::format_err!("no memory")).expect("no error");
        assert_eq!(second.used(), 40);
        drop(first);
        assert!(second.memory_growing(40, 100, None).expect("no error"));
    }
}
