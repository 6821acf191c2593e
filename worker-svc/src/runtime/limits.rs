//! The limits of one invocation, and the measurement of its memory.

use std::time::Duration;

use mesh::wasm::MAX_TABLE_ELEMENTS;
use proto::registry::v1;
use wasmtime::ResourceLimiter;

use crate::budget::{Exhausted, MemoryBudget, Reservation};
use crate::config::Config;

/// What an element of a table takes, in bytes: a pointer.
const TABLE_ELEMENT_BYTES: usize = size_of::<usize>();

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
    /// The linear memory in bytes.
    used: usize,
    /// For the memory and the tables.
    reservation: Reservation,
    /// What the last growth added, to be taken back if it fails.
    last_growth: usize,
    /// Whether its code runs.
    runs: bool,
    refusal: Option<MemoryRefusal>,
}

impl MemoryMeter {
    /// Limits the memory to `limit` bytes, and takes it from `budget`.
    pub(crate) fn new(limit: u64, budget: &MemoryBudget) -> Self {
        let reservation = budget.nothing();
        Self { limit, used: 0, reservation, last_growth: 0, runs: false, refusal: None }
    }

    /// The guest's linear memory in bytes. It is also the peak, since WebAssembly never frees memory.
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

    /// Whether there are `growth` bytes for it, which it then has.
    fn take(&mut self, growth: usize) -> bool {
        match self.reservation.grow(growth) {
            Ok(()) => {
                self.last_growth = growth;
                true
            }
            Err(Exhausted { budget }) => {
                self.refusal = Some(match self.runs {
                    true => MemoryRefusal::NothingLeft { budget },
                    false => MemoryRefusal::NothingToStartWith { budget },
                });
                false
            }
        }
    }

    /// Takes the last growth back, and returns it.
    fn take_back(&mut self, error: &wasmtime::Error) -> usize {
        tracing::debug!(%error, "cannot grow the memory or a table of a guest");
        let growth = std::mem::take(&mut self.last_growth);
        self.reservation.shrink(growth);
        growth
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
        let taken = self.take(growth);
        self.used += if taken { growth } else { 0 };
        Ok(taken)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.used -= self.take_back(&error);
        Ok(())
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        self.last_growth = 0;
        Ok(desired <= MAX_TABLE_ELEMENTS as usize && self.take((desired - current) * TABLE_ELEMENT_BYTES))
    }

    fn table_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        self.take_back(&error);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::tests::budget;

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

    #[test]
    fn memory_is_counted_until_the_end() {
        let (budget, left) = (budget(1000), |budget: &MemoryBudget, left| budget.reserve(left).is_ok());
        let mut meter = MemoryMeter::new(100, &budget);
        assert!(meter.memory_growing(0, 60, None).expect("no error"));
        assert_eq!(meter.refusal(), None);
        assert!(!meter.memory_growing(60, 120, None).expect("no error"));
        assert_eq!(meter.refusal(), Some(MemoryRefusal::Limit));
        assert!(meter.memory_growing(60, 90, None).expect("no error"));
        meter.memory_grow_failed(wasmtime::format_err!("no memory")).expect("no error");
        assert_eq!(meter.used(), 60);
        assert!(left(&budget, 940) && !left(&budget, 941));
        drop(meter);
        assert!(left(&budget, 1000));
    }

    #[test]
    fn tables_are_counted_beside_the_memory() {
        let budget = budget(1000);
        let mut meter = MemoryMeter::new(100, &budget);
        assert!(meter.memory_growing(0, 100, None).expect("no error"));
        assert!(meter.table_growing(0, 100, None).expect("no error"));
        assert!(meter.table_growing(100, 112, None).expect("no error"));
        meter.table_grow_failed(wasmtime::format_err!("no memory")).expect("no error");
        assert!(!meter.table_growing(100, 113, None).expect("no error"));
        assert_eq!(meter.refusal(), Some(MemoryRefusal::NothingToStartWith { budget: 1000 }));
        assert_eq!(meter.used(), 100, "tables are no linear memory");
        assert!(budget.reserve(100).is_ok() && budget.reserve(101).is_err());
        assert!(!meter.table_growing(0, MAX_TABLE_ELEMENTS as usize + 1, None).expect("no error"));
    }

    #[test]
    fn all_guests_share_a_budget() {
        let budget = budget(100);
        let [mut first, mut second] = [(); 2].map(|()| MemoryMeter::new(100, &budget));
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
