//! What was measured, as a table, as JSON and as plots.

mod plot;

use std::fmt::Write as _;
use std::path::Path;

use serde::Serialize;

use super::contender::Contender;
use super::wrk::Sample;

/// The results of all contenders.
#[derive(Serialize)]
pub struct Report {
    machine: Machine,
    contenders: Vec<Named>,
    measured: Vec<Measured>,
}

#[derive(Serialize)]
struct Named {
    name: String,
    version: String,
}

#[derive(Serialize)]
struct Machine {
    processor: String,
    cores: usize,
    kernel: String,
}

/// The samples of a workload at a number of connections.
#[derive(Serialize)]
pub struct Measured {
    pub workload: &'static str,
    pub connections: u32,
    /// By contender, in the order of [`Report::contenders`], then by round. Empty: it was not measured.
    pub samples: Vec<Vec<Sample>>,
}

impl Measured {
    /// The median of a contender's rounds.
    fn median(&self, contender: usize, of: impl Fn(&Sample) -> f64) -> Option<f64> {
        let mut values: Vec<_> = self.samples[contender].iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    }
}

impl Report {
    /// A report without results.
    pub fn new(contenders: &[Contender]) -> Self {
        let named = |contender: &Contender| Named {
            name: contender.name.clone(),
            version: contender.version.clone(),
        };
        Self {
            machine: Machine::this(),
            contenders: contenders.iter().map(named).collect(),
            measured: Vec::new(),
        }
    }

    /// Adds results.
    pub fn add(&mut self, measured: Measured) {
        self.measured.push(measured);
    }

    /// A Markdown table of the medians. The times of the first contender are the unit of "times".
    pub fn table(&self) -> String {
        let mut table = String::from(
            "| workload | connections | contender | requests/s | ratio | p50 | p99 | p99.9 |\n|---|---|---|---|---|---|---|---|\n",
        );
        for measured in &self.measured {
            for (index, contender) in self.contenders.iter().enumerate() {
                let Some(per_s) = measured.median(index, Sample::per_s) else { continue };
                let ratio = measured.median(0, Sample::per_s).map_or(f64::NAN, |first| per_s / first);
                let time = |of: fn(&Sample) -> u64| {
                    let us = measured.median(index, |sample| of(sample) as f64);
                    format!("{:.2} ms", us.unwrap_or(f64::NAN) / 1000.0)
                };
                let (p50, p99) = (time(|sample| sample.p50_us), time(|sample| sample.p99_us));
                let p999 = time(|sample| sample.p999_us);
                let Measured { workload, connections, .. } = measured;
                let name = &contender.name;
                let _ = writeln!(
                    table,
                    "| {workload} | {connections} | {name} | {per_s:.0} | {ratio:.2} | {p50} | {p99} | {p999} |"
                );
            }
        }
        table
    }

    /// Everything, as JSON.
    pub fn json(&self) -> anyhow::Result<String> {
        Ok(serde_json::to_string_pretty(self)?)
    }

    /// Writes a plot for each workload.
    pub fn plot(&self, folder: &Path) -> anyhow::Result<()> {
        let mut workloads: Vec<_> = self.measured.iter().map(|measured| measured.workload).collect();
        workloads.dedup();
        let names: Vec<_> = self.contenders.iter().map(|contender| contender.name.as_str()).collect();
        for workload in workloads {
            let measured: Vec<_> =
                self.measured.iter().filter(|measured| measured.workload == workload).collect();
            let file = folder.join(format!("{}.svg", workload.replace(' ', "-")));
            plot::requests_per_second(&file, workload, &names, &measured)?;
        }
        Ok(())
    }
}

impl Machine {
    fn this() -> Self {
        let read = |file: &str| std::fs::read_to_string(file).unwrap_or_default();
        let cpus = read("/proc/cpuinfo");
        let model = cpus.lines().find_map(|line| line.strip_prefix("model name"));
        Self {
            processor: model.map_or("unknown", |model| model.trim_start_matches([' ', '\t', ':'])).to_owned(),
            cores: std::thread::available_parallelism().map_or(0, usize::from),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        }
    }
}
