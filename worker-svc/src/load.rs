//! What this worker has and how much of it is free.

use parking_lot::Mutex;
use proto::scheduler::v1::WorkerLoad;
use sysinfo::System;

use crate::config::{self, Config};
use crate::metrics::Metrics;

/// Measures the worker. A cgroup's limits count as the machine's.
pub(crate) struct LoadMeter {
    system: Mutex<System>,
    /// Memory that functions may use, if the operator said so.
    total_memory: Option<u64>,
    metrics: Metrics,
}

impl LoadMeter {
    pub(crate) fn new(config: &Config, metrics: Metrics) -> anyhow::Result<Self> {
        let system = Mutex::new(System::new()?);
        Ok(Self { system, total_memory: config.total_memory_bytes, metrics })
    }

    /// The load now.
    pub(crate) fn measure(&self) -> WorkerLoad {
        let (machine_total, machine_free) = self.machine_memory();
        let total = self.total_memory.map_or(machine_total, |configured| configured.min(machine_total));
        let guests = u64::try_from(self.metrics.guest_memory.get()).unwrap_or(0);
        let average = System::load_average().ok();
        let load = |of: fn(&sysinfo::LoadAvg) -> f64| average.as_ref().map_or(0.0, of);
        WorkerLoad {
            memory_total: total,
            memory_available: machine_free.min(total.saturating_sub(guests)),
            cpus: u32::try_from(config::cores()).unwrap_or(u32::MAX),
            load_1: load(|average| average.one),
            load_5: load(|average| average.five),
            load_15: load(|average| average.fifteen),
            running: self.metrics.running(),
            ..WorkerLoad::default()
        }
    }

    /// Total and free memory in bytes.
    fn machine_memory(&self) -> (u64, u64) {
        let mut system = self.system.lock();
        system.refresh_memory();
        let (total, free) = (system.total_memory(), system.available_memory());
        match system.cgroup_limits() {
            Some(cgroup) if cgroup.total_memory > 0 => {
                (total.min(cgroup.total_memory), free.min(cgroup.free_memory))
            }
            _ => (total, free),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_free_is_a_part_of_what_is_there() {
        let metrics = Metrics::new(&prometheus::Registry::new());
        let meter = |total_memory_bytes| {
            let config = Config { total_memory_bytes, ..Config::default() };
            LoadMeter::new(&config, metrics.clone()).expect("a measurable machine")
        };
        let load = meter(None).measure();
        assert!(load.memory_total > 0 && load.memory_available <= load.memory_total && load.cpus > 0);

        metrics.guest_memory.set(300);
        let load = meter(Some(1000)).measure();
        assert_eq!((load.memory_total, load.memory_available), (1000, 700));
    }
}
