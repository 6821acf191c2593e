//! The limits of one invocation, and the measurement of its memory.

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

/// Measures and limits a guest's memory and tables.
#[derive(Debug)]
pub(crate) struct MemoryMeter {
    limit: u64,
    used: usize,
    /// What the last growth added, to be taken back if it fails.
    last_growth: usize,
    refused: bool,
    total: IntGauge,
}

impl MemoryMeter {
    /// Limits the memory to `limit` bytes, and adds it to `total`.
    pub(crate) fn new(limit: u64, total: IntGauge) -> Self {
        Self { limit, used: 0, last_growth: 0, refused: false, total }
    }

    /// The guest's memory in bytes. It is also the peak, since WebAssembly never frees memory.
    pub(crate) fn used(&self) -> u64 {
        self.used as u64
    }

    /// Whether the guest has hit the limit.
    pub(crate) fn refused(&self) -> bool {
        self.refused
    }

    fn set_used(&mut self, used: usize) {
        self.total.add(used as i64 - self.used as i64);
        self.used = used;
    }
}

impl ResourceLimiter for MemoryMeter {
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        if desired as u64 > self.limit {
            self.refused = true;
            self.last_growth = 0;
            return Ok(false);
        }
        self.last_growth = desired - current;
        self.set_used(self.used + self.last_growth);
        Ok(true)
    }

    fn memory_grow_failed(&mut self, error: wasmtime::Error) -> wasmtime::Result<()> {
        tracing::debug!(%error, "cannot grow the memory of a guest");
        let growth = std::mem::take(&mut self.last_growth);
        self.set_used(self.used - growth);
        Ok(())
    }

    fn table_growing(&mut self, _: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        Ok(desired <= MAX_TABLE_ELEMENTS as usize)
    }
}

impl Drop for MemoryMeter {
    fn drop(&mut self) {
        self.set_used(0);
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

    #[test]
    fn memory_is_counted_until_the_end() {
        let total = IntGauge::new("total", "total").expect("well-formed");
        let mut meter = MemoryMeter::new(100, total.clone());
        assert!(meter.memory_growing(0, 60, None).expect("no error"));
        assert!(!meter.refused());
        assert!(!meter.memory_growing(60, 120, None).expect("no error"));
        assert!(meter.refused());
        assert_eq!(total.get(), 60);
        assert!(meter.memory_growing(60, 90, None).expect("no error"));
        meter.memory_grow_failed(wasmtime::format_err!("no memory")).expect("no error");
        assert_eq!((total.get(), meter.used()), (60, 60));
        drop(meter);
        assert_eq!(total.get(), 0);
    }
}
