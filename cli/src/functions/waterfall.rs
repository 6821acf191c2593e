//! `--trace`: where the time of an invocation went.

use std::fmt;
use std::time::Duration;

use mesh::receipt::{self, Receipt};
use reqwest::header::HeaderMap;

/// Characters that the whole time takes.
const WIDTH: usize = 40;

/// The times and costs of an invocation.
#[derive(Debug)]
pub struct Waterfall {
    /// Milliseconds at the client; absent without a mesh.
    waited: Option<f64>,
    /// Milliseconds in the mesh, or without one in the worker; absent when nothing was run.
    total: Option<f64>,
    /// Names and milliseconds, in the order in which they pass.
    phases: Vec<(String, f64)>,
    /// What it cost, by name.
    costs: Vec<(String, String)>,
    trace_id: Option<String>,
}

impl Waterfall {
    /// Reads the headers of an answer that took so long.
    pub fn of(headers: &HeaderMap, waited: Duration) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let times = text("server-timing").split(',').filter_map(|entry| {
            let (name, rest) = entry.trim().split_once(";dur=")?;
            Some((name.to_owned(), rest.parse().ok()?))
        });
        let (total, phases): (Vec<_>, Vec<_>) = times.partition(|(name, _)| name == "total");
        let costs = text("x-funless-receipt").split(',').filter_map(|entry| {
            let (name, value) = entry.trim().split_once('=')?;
            Some((name.to_owned(), value.trim_matches('"').to_owned()))
        });
        Self {
            waited: Some(waited.as_secs_f64() * 1000.0),
            total: total.first().map(|(_, ms)| *ms),
            phases,
            costs: costs.collect(),
            trace_id: trace_id(headers),
        }
    }

    /// Shows the receipt of an invocation without a mesh.
    pub fn of_receipt(receipt: &Receipt) -> Self {
        let ms = |us: u64| us as f64 / 1000.0;
        let costs = receipt::costs(receipt).map(|(name, value)| (name.to_owned(), value.to_string()));
        Self {
            waited: None,
            total: Some(ms(receipt.total_us)),
            phases: receipt::phases(receipt).map(|(name, us)| (name.to_owned(), ms(us))).collect(),
            costs: costs.into(),
            trace_id: None,
        }
    }

    /// A line with a bar that begins after `before` milliseconds and lasts for `ms`.
    fn line(&self, name: &str, before: f64, ms: f64) -> String {
        let whole = self.waited.or(self.total).unwrap_or_default();
        let scale = WIDTH as f64 / whole.max(f64::MIN_POSITIVE);
        let column = |ms: f64| ((ms * scale).round() as usize).min(WIDTH);
        let start = column(before).min(WIDTH - 1);
        let length = column(before + ms).saturating_sub(start).max(1);
        format!("{name:<14}{ms:>10.3} ms  {}{}", " ".repeat(start), "█".repeat(length))
    }
}

/// The id of the trace that an answer belongs to.
pub fn trace_id(headers: &HeaderMap) -> Option<String> {
    let trace = headers.get("traceresponse")?.to_str().ok()?;
    trace.split('-').nth(1).map(str::to_owned)
}

impl fmt::Display for Waterfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(waited) = self.waited {
            writeln!(formatter, "{}", self.line("client", 0.0, waited))?;
        }
        let Some(total) = self.total else {
            return writeln!(formatter, "the mesh tells no more: nothing was run");
        };
        // What the mesh does not account for is the way there and back, and the gateway.
        let mut before = self.waited.map_or(0.0, |waited| ((waited - total) / 2.0).max(0.0));
        let runs_it = if self.waited.is_some() { "mesh" } else { "worker" };
        writeln!(formatter, "{}", self.line(runs_it, before, total))?;
        for (name, ms) in &self.phases {
            writeln!(formatter, "{}", self.line(&format!("  {name}"), before, *ms))?;
            before += ms;
        }
        let costs: Vec<_> = self.costs.iter().map(|(name, value)| format!("{name} {value}")).collect();
        if !costs.is_empty() {
            writeln!(formatter, "{}", costs.join(", "))?;
        }
        match &self.trace_id {
            Some(id) => writeln!(formatter, "trace {id}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        let parsed = |(name, value): &(&'static str, &'static str)| {
            (reqwest::header::HeaderName::from_static(name), value.parse().expect("a value"))
        };
        pairs.iter().map(parsed).collect()
    }

    #[test]
    fn bars_follow_each_other() {
        let headers = headers(&[
            ("server-timing", "schedule;dur=2.000, run;dur=16.000, total;dur=20.000"),
            ("x-funless-receipt", "cpu_us=15, worker=\"w\""),
            ("traceresponse", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"),
        ]);
        let shown = Waterfall::of(&headers, Duration::from_millis(40)).to_string();
        let bar = |before: usize, length: usize| format!("{}{}", " ".repeat(before), "█".repeat(length));
        let expected = [
            format!("client            40.000 ms  {}", bar(0, 40)),
            format!("mesh              20.000 ms  {}", bar(10, 20)),
            format!("  schedule         2.000 ms  {}", bar(10, 2)),
            format!("  run             16.000 ms  {}", bar(12, 16)),
            "cpu_us 15, worker w".into(),
            "trace 0af7651916cd43dd8448eb211c80319c".into(),
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn a_refusal_has_no_phases() {
        let shown = Waterfall::of(&HeaderMap::new(), Duration::from_millis(1)).to_string();
        assert!(shown.ends_with("the mesh tells no more: nothing was run\n"), "{shown}");
    }

    #[test]
    fn without_a_mesh_the_worker_is_all_there_is() {
        let receipt = Receipt { load_us: 5_000, run_us: 15_000, total_us: 20_000, ..Receipt::default() };
        let shown = Waterfall::of_receipt(&receipt).to_string();
        let bar = |before: usize, length: usize| format!("{}{}", " ".repeat(before), "█".repeat(length));
        let expected = [
            format!("worker            20.000 ms  {}", bar(0, 40)),
            format!("  load             5.000 ms  {}", bar(0, 10)),
            format!("  run             15.000 ms  {}", bar(10, 30)),
            "cpu_us 0, peak_memory_bytes 0, in_bytes 0, out_bytes 0, http_requests 0, attempts 0".into(),
        ];
        assert_eq!(shown.lines().collect::<Vec<_>>(), expected);
    }
}
