//! The configuration of logs and traces.

use std::io::IsTerminal as _;

use serde::Deserialize;

/// The table `telemetry` of every service.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TelemetryConfig {
    /// The log levels: one level, or levels by module, such as `info,scheduler_svc=debug`.
    pub log: String,
    /// The format of log lines.
    pub format: LogFormat,
    /// The OTLP gRPC receiver of traces, such as `http://127.0.0.1:4317`. Absent: traces are not exported.
    pub otlp_endpoint: Option<String>,
    /// The ratio of traces that begin here and are sampled, 0 to 1. The sampling decision of a caller is
    /// followed.
    pub sample_ratio: f64,
    /// Whether to export one span for a request that fails in a trace that is not sampled.
    pub keep_errors: bool,
    /// The maximum number of ended spans waiting for export; more are dropped and counted.
    pub queued_spans: usize,
}

impl TelemetryConfig {
    /// Checks the ranges of values. An error names the key.
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

/// The format of log lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// `Human` on a terminal, `Json` otherwise.
    Auto,
    /// Text for people.
    Human,
    /// One JSON object per line.
    Json,
}

impl LogFormat {
    /// Whether this process logs text for people to standard error.
    pub fn is_human(self) -> bool {
        match self {
            Self::Human => true,
            Self::Json => false,
            Self::Auto => std::io::stderr().is_terminal(),
        }
    }
}
