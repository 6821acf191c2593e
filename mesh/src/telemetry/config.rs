//! How a service is seen.

use std::io::IsTerminal as _;

use serde::Deserialize;

/// The table `telemetry` of every service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// What is logged: a level, or levels by module: `info,scheduler_svc=debug`.
    pub log: String,
    /// How lines look.
    pub format: LogFormat,
    /// Where traces go: an OTLP gRPC receiver such as `http://127.0.0.1:4317`. Absent: nowhere.
    pub otlp_endpoint: Option<String>,
    /// The share of traces that start here and are kept, 0 to 1. A caller's decision is followed.
    pub sample_ratio: f64,
    /// Of a request that fails in a trace that is not kept, keep what its entrance saw: one span.
    pub keep_errors: bool,
    /// Ended spans that may wait to be exported; more are dropped and counted.
    pub queued_spans: usize,
}

impl TelemetryConfig {
    /// What types cannot say. An error names the key.
    pub fn validate(&self) -> Result<(), String> {
        if !(0.0..=1.0).contains(&self.sample_ratio) {
            return Err(format!(
                "telemetry.sample_ratio: {} is out of range; expected 0 to 1",
                self.sample_ratio
            ));
        }
        if !(1..=1_000_000).contains(&self.queued_spans) {
            let given = self.queued_spans;
            return Err(format!("telemetry.queued_spans: {given} is out of range; expected 1 to 1000000"));
        }
        Ok(())
    }
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            log: "info".into(),
            format: LogFormat::Auto,
            otlp_endpoint: None,
            sample_ratio: 1.0,
            keep_errors: true,
            queued_spans: 8192,
        }
    }
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people on a terminal, else JSON.
    Auto,
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

impl LogFormat {
    /// Whether lines on this process' standard error are for people.
    pub fn is_human(self) -> bool {
        match self {
            Self::Human => true,
            Self::Json => false,
            Self::Auto => std::io::stderr().is_terminal(),
        }
    }
}
