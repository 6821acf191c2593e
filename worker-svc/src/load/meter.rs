//! Measures the worker: memory, CPUs, load averages, and what runs.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;
use proto::scheduler::v1::WorkerLoad;
use sysinfo::System;
use tokio::time::{Instant, interval_at};

use super::cgroup::{Cgroups, Memory};
use super::cpu::CpuMeter;
use crate::config::{self, Config};
use crate::metrics::Metrics;
use crate::running::RunningInvocations;

/// CPU use is the average over this time. It is measured in one place for all readers, since it depends on
/// when it was measured last.
const CPU_INTERVAL: Duration = Duration::from_secs(1);

/// Measures the load of the worker. The limits of a cgroup count as those of the machine.
pub(crate) struct LoadMeter {
    machine: Mutex<System>,
    cgroups: Cgroups,
    /// The bits of an `f64`.
    cpu_use: AtomicU64,
    /// Memory for functions, if configured.
    total_memory: Option<u64>,
    running: RunningInvocations,
    /// Memory of the running guests, in bytes.
    guest_memory: IntGauge,
    /// Memory of the log lines that are kept, in bytes.
    log_memory: IntGauge,
}

/// The load at one moment.
#[derive(Debug)]
pub(crate) struct LoadSample {
    /// What schedulers get.
    pub(crate) load: WorkerLoad,
    /// Memory in bytes that nothing uses. The rest of what is available is held by caches.
    pub(crate) memory_free: u64,
}

impl LoadMeter {
    pub(crate) fn new(
        config: &Config,
        running: RunningInvocations,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        Ok(Self {
            machine: Mutex::new(System::new()?),
            cgroups: Cgroups::own(),
            cpu_use: AtomicU64::new(0),
            total_memory: config.total_memory_bytes,
            running,
            guest_memory: metrics.guest_memory.clone(),
            log_memory: metrics.log_bytes.clone(),
        })
    }

    /// The load now.
    pub(crate) fn measure(&self) -> LoadSample {
        let bytes = |gauge: &IntGauge| u64::try_from(gauge.get()).unwrap_or(0);
        let (guests, logs) = (bytes(&self.guest_memory), bytes(&self.log_memory));
        let memory = for_functions(self.memory(), self.total_memory, guests + logs);
        let work = self.running.snapshot();
        let average = System::load_average().ok();
        let load = |of: fn(&sysinfo::LoadAvg) -> f64| average.as_ref().map_or(0.0, of);
        let load = WorkerLoad {
            memory_total: memory.total,
            memory_available: memory.available,
            cpus: u32::try_from(config::cores()).unwrap_or(u32::MAX),
            load_1: load(|average| average.one),
            load_5: load(|average| average.five),
            load_15: load(|average| average.fifteen),
            running: work.iter().map(|work| work.running).sum(),
            memory_guests: guests,
            cpu_use: f64::from_bits(self.cpu_use.load(Ordering::Relaxed)),
            work,
        };
        LoadSample { load, memory_free: memory.free }
    }

    /// Keeps the CPU use up to date, until it is cancelled.
    pub(crate) async fn follow_cpu_use(self: Arc<Self>) {
        let mut meter = match CpuMeter::start(&self.cgroups) {
            Ok(meter) => meter,
            Err(error) => {
                tracing::warn!(%error, "cannot measure the CPU use");
                return;
            }
        };
        let mut ticks = interval_at(Instant::now() + CPU_INTERVAL, CPU_INTERVAL);
        loop {
            ticks.tick().await;
            self.cpu_use.store(meter.measure(&self.cgroups).to_bits(), Ordering::Relaxed);
        }
    }

    /// The memory of the machine, or of the cgroup where that is less.
    fn memory(&self) -> Memory {
        let mut machine = self.machine.lock();
        machine.refresh_memory();
        let machine = Memory {
            total: machine.total_memory(),
            available: machine.available_memory(),
            free: machine.free_memory(),
        };
        self.cgroups.memory().map_or(machine, |cgroup| machine.min(cgroup))
    }
}

/// The part of `memory` that is for functions, if `configured` bytes are and `taken` of them are taken, by guests and
/// by log lines that are kept. What is available and what guests hold is what would be available if nothing ran.
fn for_functions(memory: Memory, configured: Option<u64>, taken: u64) -> Memory {
    let total = configured.map_or(memory.total, |configured| configured.min(memory.total));
    let left = total.saturating_sub(taken);
    Memory { total, available: memory.available.min(left), free: memory.free.min(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn free_memory_is_a_part_of_the_total() {
        let metrics = Metrics::new(&prometheus::Registry::new(), "w");
        let meter = |total_memory_bytes| {
            let config = Config { total_memory_bytes, ..Config::default() };
            LoadMeter::new(&config, RunningInvocations::default(), &metrics).expect("a measurable machine")
        };
        let LoadSample { load, memory_free } = meter(None).measure();
        assert!(load.memory_total > 0 && load.memory_available <= load.memory_total && load.cpus > 0);
        assert!(memory_free <= load.memory_total, "{memory_free} {}", load.memory_total);
        assert!(load.load_1 >= 0.0 && load.load_15 >= 0.0);

        metrics.guest_memory.set(300);
        metrics.log_bytes.set(50);
        let LoadSample { load, memory_free } = meter(Some(1000)).measure();
        assert_eq!((load.memory_total, load.memory_available, load.memory_guests), (1000, 650, 300));
        assert_eq!(memory_free, 650);
    }

    #[test]
    fn functions_get_the_configured_memory_as_far_as_the_machine_has_it() {
        let machine = Memory { total: 1000, available: 600, free: 200 };
        let memory = |total, available, free| Memory { total, available, free };
        let cases = [
            ((None, 0), memory(1000, 600, 200)),
            ((None, 100), memory(1000, 600, 200)),
            ((None, 700), memory(1000, 300, 200)),
            ((Some(500), 0), memory(500, 500, 200)),
            // What guests hold and what is available is all the memory for functions.
            ((Some(500), 100), memory(500, 400, 200)),
            ((Some(500), 900), memory(500, 0, 0)),
            // The machine has less left than configured.
            ((Some(900), 100), memory(900, 600, 200)),
            ((Some(5000), 0), memory(1000, 600, 200)),
        ];
        for ((configured, guests), expected) in cases {
            assert_eq!(for_functions(machine, configured, guests), expected, "{configured:?} {guests}");
        }
    }
}
