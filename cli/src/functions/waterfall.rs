//! `fl fn invoke --trace`: where the time of an invocation went.

use std::fmt;
use std::time::Duration;

use reqwest::header::HeaderMap;

/// Characters that the whole time takes.
const WIDTH: usize = 40;

/// What the headers of an answer tell, against what the client waited.
#[derive(Debug)]
pub struct Waterfall {
    /// Names and milliseconds, in the order in which they pass.
    phases: Vec<(String, f64)>,
    /// What it cost, by name.
    costs: Vec<(String, String)>,
    trace_id: Option<String>,
    /// Milliseconds at the client.
    waited: f64,
}

impl Waterfall {
    /// Reads the headers of an answer that took so long.
    pub fn of(headers: &HeaderMap, waited: Duration) -> Self {
        let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let phases = text("server-timing").split(',').filter_map(|entry| {
            let (name, rest) = entry.trim().split_once(";dur=")?;
            Some((name.to_owned(), rest.parse().ok()?))
        });
        let costs = text("x-funless-receipt").split(',').filter_map(|entry| {
            let (name, value) = entry.trim().split_once('=')?;
            Some((name.to_owned(), value.trim_matches('"').to_owned()))
        });
        let trace_id = text("traceresponse").split('-').nth(1).map(str::to_owned);
        Self {
            phases: phases.collect(),
            costs: costs.collect(),
            trace_id,
            waited: waited.as_secs_f64() * 1000.0,
        }
    }

    fn total(&self) -> Option<f64> {
        self.phases.iter().find(|(name, _)| name == "total").map(|(_, ms)| *ms)
    }

    /// A bar that begins after `before` milliseconds and lasts for `ms`.
    fn bar(&self, before: f64, ms: f64) -> String {
        let scale = WIDTH as f64 / self.waited.max(f64::MIN_POSITIVE);
        let column = |ms: f64| ((ms * scale).round() as usize).min(WIDTH);
        let start = column(before).min(WIDTH - 1);
        let length = column(before + ms).saturating_sub(start).max(1);
        format!("{}{}", " ".repeat(start), "█".repeat(length))
    }
}

impl fmt::Display for Waterfall {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(formatter, "{:<14}{:>10.3} ms  {}", "client", self.waited, self.bar(0.0, self.waited))?;
        let Some(total) = self.total() else {
            return writeln!(formatter, "the mesh tells no more: nothing was run");
        };
        // What the mesh does not account for is the way there and back, and the gateway.
        let mut before = ((self.waited - total) / 2.0).max(0.0);
        writeln!(formatter, "{:<14}{total:>10.3} ms  {}", "mesh", self.bar(before, total))?;
        for (name, ms) in self.phases.iter().filter(|(name, _)| name != "total") {
            writeln!(formatter, "  {name:<12}{ms:>10.3} ms  {}", self.bar(before, *ms))?;
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
}
