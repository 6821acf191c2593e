//! What was measured, for people and for programs.

use std::fmt;
use std::time::Duration;

use serde_json::{Value, json};

use super::buckets;
use super::load::{Load, Measured};
use super::tally::{ErrorKind, Errors};

/// Characters of the longest bar.
const WIDTH: u64 = 40;
/// The quantiles that are shown, with their names.
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p95", 0.95), ("p99", 0.99), ("p99.9", 0.999)];

/// What was measured of a function.
pub struct Report<'a> {
    /// `module/name`.
    pub function: &'a str,
    pub load: &'a Load,
    pub measured: &'a Measured,
}

impl Report<'_> {
    fn per_second(&self) -> f64 {
        let seconds = self.measured.elapsed.as_secs_f64().max(f64::MIN_POSITIVE);
        self.measured.tally.succeeded() as f64 / seconds
    }

    /// Times are in microseconds.
    pub fn to_json(&self) -> Value {
        let Measured { elapsed, tally, not_started } = self.measured;
        let latency = &tally.latency;
        let of_latency = (!latency.is_empty()).then(|| {
            let quantiles = QUANTILES
                .map(|(name, quantile)| (name.to_owned(), Value::from(latency.value_at_quantile(quantile))));
            let mut values = serde_json::Map::from_iter(quantiles);
            values.insert("min".to_owned(), latency.min().into());
            values.insert("mean".to_owned(), latency.mean().into());
            values.insert("stdev".to_owned(), latency.stdev().into());
            values.insert("max".to_owned(), latency.max().into());
            values
        });
        let errors = tally.errors.iter().map(|(ErrorKind { status, reason }, Errors { count, message })| {
            let reason = Some(reason).filter(|reason| !reason.is_empty());
            json!({ "status": status, "reason": reason, "count": count, "message": message })
        });
        let histogram = buckets::of(latency).into_iter();
        let histogram = histogram.map(|bucket| json!({ "up_to_us": bucket.up_to_us, "count": bucket.count }));
        json!({
            "function": self.function,
            "connections": self.load.connections,
            "rate": self.load.rate,
            "seconds": elapsed.as_secs_f64(),
            "succeeded": tally.succeeded(),
            "failed": tally.failed(),
            "not_started": not_started,
            "per_second": self.per_second(),
            "latency_us": of_latency,
            "histogram": histogram.collect::<Vec<_>>(),
            "errors": errors.collect::<Vec<_>>(),
        })
    }

    fn show_errors(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (ErrorKind { status, reason }, Errors { count, message }) in &self.measured.tally.errors {
            let status = status.map_or_else(|| "no answer".to_owned(), |status| status.to_string());
            let kind = format!("{status} {reason}");
            let message = mesh::printable::line(message);
            writeln!(formatter, "  {count:>8}  {}, such as: {message}", kind.trim_end())?;
        }
        Ok(())
    }

    fn show_latency(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let latency = &self.measured.tally.latency;
        if latency.is_empty() {
            return Ok(());
        }
        let (min, mean, max) = (time(latency.min()), time(latency.mean() as u64), time(latency.max()));
        writeln!(formatter, "\nlatency      min {min}, mean {mean}, max {max}")?;
        for (name, quantile) in QUANTILES {
            writeln!(formatter, "  {name:<8}{:>12}", time(latency.value_at_quantile(quantile)))?;
        }
        writeln!(formatter)?;
        let buckets = buckets::of(latency);
        let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or_default().max(1);
        for bucket in buckets {
            let length = (bucket.count * WIDTH).div_ceil(most);
            let bar = "█".repeat(usize::try_from(length).unwrap_or_default());
            let line = format!("  up to {:>9}  {:>8}  {bar}", time(bucket.up_to_us), bucket.count);
            writeln!(formatter, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Measured { elapsed, tally, not_started } = self.measured;
        let connections = self.load.connections;
        let rate = self.load.rate.map(|rate| format!(", {rate}/s wanted")).unwrap_or_default();
        let plural = if connections == 1 { "" } else { "s" };
        writeln!(
            formatter,
            "{}: {connections} connection{plural}{rate}, {}\n",
            self.function,
            seconds(*elapsed)
        )?;
        writeln!(formatter, "succeeded    {}, {:.1}/s", tally.succeeded(), self.per_second())?;
        writeln!(formatter, "failed       {}", tally.failed())?;
        self.show_errors(formatter)?;
        if *not_started > 0 {
            writeln!(formatter, "not started  {not_started}: they were due, and all connections were busy")?;
        }
        self.show_latency(formatter)
    }
}

fn seconds(time: Duration) -> String {
    format!("{:.2} s", time.as_secs_f64())
}

/// Microseconds as people read them.
fn time(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..1_000_000 => format!("{:.2} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

#[cfg(test)]
mod tests {
    use super::super::tally::Tally;
    use super::*;

    fn measured() -> Measured {
        let mut tally = Tally::new().expect("bounds");
        for us in [900, 1_500, 1_800, 1_900] {
            tally.succeed(Duration::from_micros(us));
        }
        let kind = ErrorKind { status: Some(429), reason: "OVERLOADED".into() };
        tally.fail(kind, || "the worker is\nbusy".into());
        tally.fail(ErrorKind { status: None, reason: String::new() }, || "gone".into());
        Measured { elapsed: Duration::from_secs(2), tally, not_started: 3 }
    }

    const LOAD: Load = Load { connections: 2, invocations: None, duration: None, rate: Some(4.5) };

    #[test]
    fn in_words() {
        let shown = Report { function: "m/f", load: &LOAD, measured: &measured() }.to_string();
        let expected = "\
m/f: 2 connections, 4.5/s wanted, 2.00 s

succeeded    4, 2.0/s
failed       2
         1  no answer, such as: gone
         1  429 OVERLOADED, such as: the worker is\\nbusy
not started  3: they were due, and all connections were busy

latency      min 900 µs, mean 1.52 ms, max 1.90 ms
  p50          1.50 ms
  p90          1.90 ms
  p95          1.90 ms
  p99          1.90 ms
  p99.9        1.90 ms

  up to   1.00 ms         1  ██████████████
  up to   2.00 ms         3  ████████████████████████████████████████
";
        assert_eq!(shown, expected);
    }

    #[test]
    fn for_programs() {
        let report = Report { function: "m/f", load: &LOAD, measured: &measured() }.to_json();
        assert_eq!(
            report["errors"][0],
            json!({ "status": null, "reason": null, "count": 1, "message": "gone" })
        );
        assert_eq!(report["errors"][1]["status"], 429);
        assert_eq!((&report["succeeded"], &report["per_second"]), (&json!(4), &json!(2.0)));
        assert_eq!((&report["latency_us"]["min"], &report["not_started"]), (&json!(900), &json!(3)));
        assert_eq!(report["histogram"][1], json!({ "up_to_us": 2000, "count": 3 }));
        let nothing = Measured { tally: Tally::new().expect("bounds"), ..measured() };
        let report = Report { function: "m/f", load: &LOAD, measured: &nothing };
        assert_eq!(
            (&report.to_json()["latency_us"], &report.to_json()["histogram"]),
            (&Value::Null, &json!([]))
        );
        assert!(
            report.to_string().ends_with("not started  3: they were due, and all connections were busy\n")
        );
    }
}
