//! What this worker has, how much of it is free, and what runs on it.

mod cgroup;
mod cpu;
mod gauges;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use prometheus::IntGauge;
use proto::scheduler::v1::WorkerLoad;
use sysinfo::System;
use tokio::time::{Instant, interval_at};

use self::cgroup::{Cgroups, Memory};
use self::cpu::CpuMeter;
pub(crate) use self::gauges::LoadGauges;
use crate::config::{self, Config};
use crate::work::Work;

/// How often the use of the CPUs is measured: over this time it is meant. One measures for all who ask,
/// since each has another idea of when was the last time.
const CPU_INTERVAL: Duration = Duration::from_secs(1);

/// Measures the worker. A cgroup's limits count as the machine's.
pub(crate) struct LoadMeter {
    machine: Mutex<System>,
    cgroups: Cgroups,
    /// The bits of an `f64`.
    cpu_use: AtomicU64,
    /// Memory that functions may use, if the operator said so.
    total_memory: Option<u64>,
    work: Work,
    /// Linear memory of the guests that run, in bytes.
    guest_memory: IntGauge,
}

/// The load at one moment.
#[derive(Debug)]
pub(crate) struct Measured {
    /// As schedulers are told.
    pub(crate) load: WorkerLoad,
    /// Memory in bytes that nothing uses. What is available beyond that, caches hold.
    pub(crate) memory_free: u64,
}

impl LoadMeter {
    pub(crate) fn new(config: &Config, work: Work, guest_memory: IntGauge) -> anyhow::Result<Self> {
        Ok(Self {
            machine: Mutex::new(System::new()?),
            cgroups: Cgroups::own(),
            cpu_use: AtomicU64::new(0),
            total_memory: config.total_memory_bytes,
            work,
            guest_memory,
        })
    }

    /// The load now.
    pub(crate) fn measure(&self) -> Measured {
        let guests = u64::try_from(self.guest_memory.get()).unwrap_or(0);
        let memory = for_functions(self.memory(), self.total_memory, guests);
        let work = self.work.now();
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
        Measured { load, memory_free: memory.free }
    }

    /// Keeps the use of the CPUs up to date, for ever.
    pub(crate) async fn follow_cpu_use(self: Arc<Self>) {
        let mut meter = match CpuMeter::start(&self.cgroups) {
            Ok(meter) => meter,
            Err(error) => {
                tracing::warn!(%error, "the use of the CPUs cannot be measured");
                return;
            }
        };
        let mut ticks = interval_at(Instant::now() + CPU_INTERVAL, CPU_INTERVAL);
        loop {
            ticks.tick().await;
            self.cpu_use.store(meter.measure(&self.cgroups).to_bits(), Ordering::Relaxed);
        }
    }

    /// The memory of the machine, or of the cgroup if it leaves less.
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

/// What of `there` is for functions, when the operator gives them `configured` and they hold `guests` of
/// it. What is available and what they hold is together what would be available if nothing ran.
fn for_functions(there: Memory, configured: Option<u64>, guests: u64) -> Memory {
    let total = configured.map_or(there.total, |configured| configured.min(there.total));
    let left = total.saturating_sub(guests);
    Memory { total, available: there.available.min(left), free: there.free.min(left) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_a_part_of_what_is_there() {
        let guest_memory = IntGauge::new("guests", "guests").expect("well-formed");
        let meter = |total_memory_bytes| {
            let config = Config { total_memory_bytes, ..Config::default() };
            LoadMeter::new(&config, Work::default(), guest_memory.clone()).expect("a measurable machine")
        };
        let Measured { load, memory_free } = meter(None).measure();
        assert!(load.memory_total > 0 && load.memory_available <= load.memory_total && load.cpus > 0);
        assert!(memory_free <= load.memory_total, "{memory_free} {}", load.memory_total);
        assert!(load.load_1 >= 0.0 && load.load_15 >= 0.0);

        guest_memory.set(300);
        let Measured { load, memory_free } = meter(Some(1000)).measure();
        assert_eq!((load.memory_total, load.memory_available, load.memory_guests), (1000, 700, 300));
        assert_eq!(memory_free, 700);
    }

    #[test]
    fn functions_get_what_they_are_given_as_far_as_it_is_there() {
        let there = Memory { total: 1000, available: 600, free: 200 };
        let memory = |total, available, free| Memory { total, available, free };
        let cases = [
            ((None, 0), memory(1000, 600, 200)),
            ((None, 100), memory(1000, 600, 200)),
            ((None, 700), memory(1000, 300, 200)),
            ((Some(500), 0), memory(500, 500, 200)),
            // What runs and what is available is all that there is for functions.
            ((Some(500), 100), memory(500, 400, 200)),
            ((Some(500), 900), memory(500, 0, 0)),
            // The machine has less left than was given.
            ((Some(900), 100), memory(900, 600, 200)),
            ((Some(5000), 0), memory(1000, 600, 200)),
        ];
        for ((configured, guests), expected) in cases {
            assert_eq!(for_functions(there, configured, guests), expected, "{configured:?} {guests}");
        }
    }
}
