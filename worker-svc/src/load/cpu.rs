//! The CPU use: of a cgroup's quota, or of the CPUs that this process may run on.

use std::time::Instant;

use rustix::thread::{CpuSet, sched_getaffinity};
use sysinfo::System;

use super::cgroup::{Cgroups, CpuQuota};

/// Measures the CPU use between two calls.
pub(crate) struct CpuMeter {
    machine: System,
    /// The quota at the last measurement.
    last: Option<(Instant, CpuQuota)>,
}

impl CpuMeter {
    /// Starts to measure.
    pub(crate) fn start(cgroups: &Cgroups) -> anyhow::Result<Self> {
        let mut machine = System::new()?;
        machine.refresh_cpu_usage();
        Ok(Self { machine, last: cgroups.cpu_quota().map(|quota| (Instant::now(), quota)) })
    }

    /// The share that was used since the last call, from 0 to 1: of the cgroup's quota if that is less than
    /// the CPUs that this process may run on, otherwise of these CPUs, by any process.
    pub(crate) fn measure(&mut self, cgroups: &Cgroups) -> f64 {
        self.machine.refresh_cpu_usage();
        let allowed = sched_getaffinity(None).ok();
        let may_run_on =
            |cpu: usize| allowed.is_none_or(|allowed| cpu < CpuSet::MAX_CPU && allowed.is_set(cpu));
        let cpus = self.machine.cpus().iter().filter_map(|cpu| {
            let number = cpu.name().strip_prefix("cpu")?.parse().ok()?;
            may_run_on(number).then(|| f64::from(cpu.usage()) / 100.0)
        });
        let cpus: Vec<f64> = cpus.collect();

        let now = cgroups.cpu_quota().map(|quota| (Instant::now(), quota));
        let last = std::mem::replace(&mut self.last, now);
        let limited = now.filter(|(_, quota)| quota.cpus < cpus.len() as f64);
        match (last, limited) {
            (Some(last), Some(now)) => share_of_quota(last, now),
            _ => share_of_cpus(&cpus),
        }
    }
}

/// The used share of a quota between two measurements.
fn share_of_quota(before: (Instant, CpuQuota), after: (Instant, CpuQuota)) -> f64 {
    let elapsed = after.0.saturating_duration_since(before.0).as_secs_f64();
    let used = after.1.used.saturating_sub(before.1.used).as_secs_f64();
    if elapsed > 0.0 { (used / elapsed / after.1.cpus).clamp(0.0, 1.0) } else { 0.0 }
}

/// The used share of CPUs whose shares are these.
fn share_of_cpus(uses: &[f64]) -> f64 {
    if uses.is_empty() { 0.0 } else { (uses.iter().sum::<f64>() / uses.len() as f64).clamp(0.0, 1.0) }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_quota_is_used_up_by_as_much_cpu_time() {
        let start = Instant::now();
        let at = |elapsed_ms, used_ms, cpus| {
            let used = Duration::from_millis(used_ms);
            (start + Duration::from_millis(elapsed_ms), CpuQuota { cpus, used })
        };
        let cases = [
            (at(0, 500, 0.5), at(1000, 500, 0.5), 0.0),
            (at(0, 500, 0.5), at(1000, 750, 0.5), 0.5),
            (at(0, 500, 2.0), at(500, 1500, 2.0), 1.0),
            // A little more than there is, as the kernel's accounting goes.
            (at(0, 0, 0.5), at(1000, 510, 0.5), 1.0),
            // The quota was changed in between, or another cgroup is the scarcest now.
            (at(0, 0, 0.5), at(1000, 500, 1.0), 0.5),
            (at(0, 900, 0.5), at(1000, 100, 0.5), 0.0),
            (at(0, 0, 0.5), at(0, 100, 0.5), 0.0),
        ];
        for (before, after, expected) in cases {
            assert_eq!(share_of_quota(before, after), expected, "{before:?} {after:?}");
        }
    }

    #[test]
    fn cpus_count_alike() {
        assert_eq!(share_of_cpus(&[]), 0.0);
        assert_eq!(share_of_cpus(&[0.5, 1.0]), 0.75);
    }

    #[tokio::test]
    async fn a_busy_thread_shows() {
        let cgroups = Cgroups::default();
        let mut meter = CpuMeter::start(&cgroups).expect("a measurable machine");
        let busy = tokio::task::spawn_blocking(|| {
            let start = Instant::now();
            let mut rounds = 0_u64;
            while start.elapsed() < sysinfo::MINIMUM_CPU_UPDATE_INTERVAL * 2 {
                rounds = std::hint::black_box(rounds + 1);
            }
        });
        busy.await.expect("no panic");
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let measured = meter.measure(&cgroups);
        assert!(measured > 0.1 / cpus && measured <= 1.0, "{measured}");
    }
}
