//! Reads the answers of Prometheus. Pure: the time is an argument.

use std::collections::HashMap;
use std::fmt;
use std::time::Duration;

use serde::Deserialize;

use crate::cluster::Measured;

/// The metrics of workers that are queried.
const METRICS: [&str; 4] = [
    "funless_worker_memory_total_bytes",
    "funless_worker_memory_available_bytes",
    "funless_worker_guest_memory_bytes",
    "funless_worker_cpu_use_ratio",
];
/// The most characters of an error message that are passed on.
const MAX_MESSAGE_CHARS: usize = 200;

/// The query for all samples of the last `window`. They have the times at which they were scraped; an instant
/// query would give them the time of the query.
pub fn query(window: Duration) -> String {
    format!("{{__name__=~\"{}\"}}[{}ms]", METRICS.join("|"), window.as_millis())
}

/// The latest samples of each worker.
#[derive(Debug, Default, PartialEq)]
pub struct Samples(HashMap<String, [Option<Sample>; METRICS.len()]>);

#[derive(Debug, Clone, Copy, PartialEq)]
struct Sample {
    /// Unix time in seconds.
    at: f64,
    value: f64,
}

/// Why the samples of a worker cannot be used.
#[derive(Debug, Clone, PartialEq)]
pub enum Unusable {
    /// A metric has no samples.
    Missing(&'static str),
    /// The latest sample is this many seconds old.
    Old(f64),
    /// The latest sample is this many seconds in the future.
    Early(f64),
    /// The value of a metric is negative or not finite.
    Invalid(&'static str, f64),
}

/// The answer to a query.
#[derive(Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
enum Answer {
    Success { data: Data },
    Error { error: String },
}

#[derive(Deserialize)]
#[serde(tag = "resultType", content = "result", rename_all = "lowercase")]
enum Data {
    Matrix(Vec<Series>),
}

#[derive(Deserialize)]
struct Series {
    metric: Labels,
    #[serde(default)]
    values: Vec<(f64, String)>,
}

#[derive(Deserialize)]
struct Labels {
    #[serde(rename = "__name__", default)]
    name: String,
    #[serde(default)]
    worker: String,
}

/// Reads the answer to [`query`]. The error is that of Prometheus, or says what is wrong with the answer.
pub fn parse(body: &[u8]) -> Result<Samples, String> {
    let answer = serde_json::from_slice(body)
        .map_err(|error| format!("its answer cannot be read: {}", one_line(&error.to_string())))?;
    let series = match answer {
        Answer::Success { data: Data::Matrix(series) } => series,
        Answer::Error { error } => return Err(one_line(&error)),
    };
    let mut samples = Samples::default();
    for Series { metric: Labels { name, worker }, values } in series {
        let Some(metric) = METRICS.iter().position(|metric| *metric == name) else { continue };
        for (at, value) in values {
            let value = value.parse().map_err(|_| {
                format!("its answer has a sample that is not a number: {:?}", one_line(&value))
            })?;
            samples.add(&worker, metric, Sample { at, value });
        }
    }
    Ok(samples)
}

/// A message of another program as one short line.
pub fn one_line(message: &str) -> String {
    message.chars().take(MAX_MESSAGE_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect()
}

impl Samples {
    fn add(&mut self, worker: &str, metric: usize, sample: Sample) {
        if !self.0.contains_key(worker) {
            self.0.insert(worker.to_owned(), [None; METRICS.len()]);
        }
        let Some(samples) = self.0.get_mut(worker) else { return };
        // Several jobs may scrape a worker.
        if samples[metric].is_none_or(|known| known.at <= sample.at) {
            samples[metric] = Some(sample);
        }
    }

    /// The latest measurement of this worker, unless it is older than `max_age` at `now`, a Unix time in
    /// seconds.
    pub fn of(&self, worker: &str, now: f64, max_age: Duration) -> Result<Measured, Unusable> {
        let samples = self.0.get(worker).copied().unwrap_or_default();
        let mut values = [0.0; METRICS.len()];
        for ((value, sample), metric) in values.iter_mut().zip(samples).zip(METRICS) {
            let Sample { at, value: sampled } = sample.ok_or(Unusable::Missing(metric))?;
            let age = now - at;
            if age > max_age.as_secs_f64() {
                return Err(Unusable::Old(age));
            }
            if -age > max_age.as_secs_f64() {
                return Err(Unusable::Early(-age));
            }
            if !sampled.is_finite() || sampled < 0.0 {
                return Err(Unusable::Invalid(metric, sampled));
            }
            *value = sampled;
        }
        let [total, available, guests, cpu_use] = values;
        Ok(Measured {
            memory_total: total as u64,
            memory_available: available as u64,
            memory_guests: guests as u64,
            cpu_use: cpu_use.min(1.0),
        })
    }
}

impl fmt::Display for Unusable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Missing(metric) => write!(f, "no recent sample of {metric}"),
            Self::Old(age) => write!(f, "the latest sample is {age:.0} s old"),
            Self::Early(ahead) => write!(f, "the latest sample is {ahead:.0} s ahead of this clock"),
            Self::Invalid(metric, value) => write!(f, "{metric} is {value}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX_AGE: Duration = Duration::from_secs(15);

    /// An answer with one series of each metric: its values, each with its time.
    fn answer(worker: &str, series: [&str; 4]) -> String {
        let series: Vec<_> = METRICS
            .iter()
            .zip(series)
            .map(|(name, values)| {
                format!(r#"{{"metric":{{"__name__":"{name}","job":"j","worker":"{worker}"}},"values":[{values}]}}"#)
            })
            .collect();
        matrix(&series.join(","))
    }

    fn matrix(series: &str) -> String {
        format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{series}]}}}}"#)
    }

    #[test]
    fn the_latest_sample_counts() {
        let body = answer(
            "w",
            [
                r#"[90,"1000"],[100.5,"1.073741824e+09"]"#,
                r#"[100.5,"700"],[90,"1"]"#,
                r#"[100.5,"20"]"#,
                r#"[100.5,"0.25"]"#,
            ],
        );
        let samples = parse(body.as_bytes()).expect("well-formed");
        let measured =
            Measured { memory_total: 1 << 30, memory_available: 700, memory_guests: 20, cpu_use: 0.25 };
        for now in [86.0, 100.5, 115.5] {
            assert_eq!(samples.of("w", now, MAX_AGE), Ok(measured), "at {now}");
        }
        assert_eq!(samples.of("w", 120.5, MAX_AGE), Err(Unusable::Old(20.0)));
        assert_eq!(samples.of("w", 80.5, MAX_AGE), Err(Unusable::Early(20.0)));
        assert_eq!(samples.of("v", 100.0, MAX_AGE), Err(Unusable::Missing(METRICS[0])));
    }

    #[test]
    fn invalid_samples_are_not_used() {
        let cases = [
            (["", "1", "1", "1"], "no recent sample of funless_worker_memory_total_bytes"),
            (["1", "1", "1", ""], "no recent sample of funless_worker_cpu_use_ratio"),
            (["1", "NaN", "1", "1"], "funless_worker_memory_available_bytes is NaN"),
            (["+Inf", "1", "1", "1"], "funless_worker_memory_total_bytes is inf"),
            (["1", "1", "-7", "1"], "funless_worker_guest_memory_bytes is -7"),
        ];
        for (values, expected) in cases {
            let series = values.map(|value| match value {
                "" => String::new(),
                value => format!(r#"[100,"{value}"]"#),
            });
            let body = answer("w", series.each_ref().map(String::as_str));
            let unusable = parse(body.as_bytes()).expect("well-formed").of("w", 100.0, MAX_AGE);
            assert_eq!(unusable.expect_err(expected).to_string(), expected);
        }
        let more_than_all = answer("w", [r#"[100,"1"]"#; 4].map(|value| value)).replace("\"1\"", "\"1.5\"");
        let measured = parse(more_than_all.as_bytes()).expect("well-formed").of("w", 100.0, MAX_AGE);
        assert_eq!(measured.map(|measured| measured.cpu_use), Ok(1.0));
    }

    #[test]
    fn other_series_are_ignored() {
        let series = [
            r#"{"metric":{},"values":[[1,"1"]]}"#,
            r#"{"metric":{"__name__":"up","worker":"w"},"values":[[1,"1"]]}"#,
            r#"{"metric":{"__name__":"funless_worker_cpu_use_ratio","worker":"w"},"histograms":[]}"#,
        ];
        for body in [matrix(""), matrix(&series.join(","))] {
            assert_eq!(parse(body.as_bytes()), Ok(Samples::default()), "{body}");
        }
    }

    #[test]
    fn answers_that_cannot_be_read() {
        let long = format!(r#"{{"status":"error","errorType":"x","error":"{}"}}"#, "é\\n".repeat(1000));
        let cases = [
            ("", "its answer cannot be read: EOF"),
            ("<html>", "its answer cannot be read: expected value"),
            ("[]", "its answer cannot be read: "),
            (r#"{"status":"fine"}"#, "its answer cannot be read: unknown variant `fine`"),
            (r#"{"status":"success"}"#, "its answer cannot be read: missing field `data`"),
            (
                r#"{"status":"success","data":{"resultType":"vector","result":[]}}"#,
                "its answer cannot be read: unknown variant `vector`, expected `matrix`",
            ),
            (
                &matrix(r#"{"metric":{"__name__":"funless_worker_cpu_use_ratio"},"values":[[1,"much"]]}"#),
                "its answer has a sample that is not a number: \"much\"",
            ),
            (&matrix(r#"{"metric":{},"values":[["now","1"]]}"#), "its answer cannot be read: invalid type"),
            (r#"{"status":"error","errorType":"bad_data","error":"parse error"}"#, "parse error"),
            (&long, "é é é "),
        ];
        for (body, expected) in cases {
            let problem = parse(body.as_bytes()).expect_err(expected);
            assert!(problem.starts_with(expected), "{problem:?} starts with {expected:?}");
            assert!(
                problem.chars().count() < MAX_MESSAGE_CHARS + 100 && !problem.contains('\n'),
                "{problem:?}"
            );
        }
    }

    #[test]
    fn the_query_names_each_metric() {
        let query = query(Duration::from_millis(1500));
        assert!(query.starts_with("{__name__=~\"funless_worker_memory_total_bytes|"), "{query}");
        assert!(query.ends_with("|funless_worker_cpu_use_ratio\"}[1500ms]"), "{query}");
    }
}
