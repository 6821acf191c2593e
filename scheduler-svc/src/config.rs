//! All the knobs of the scheduler.

use mesh::channel::Endpoint;
use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use serde::Deserialize;

/// The scheduler's configuration. See [`mesh::config`] for where it is read from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it serves; port 4002.
    pub server: ServerConfig,
    /// How it is seen.
    pub telemetry: TelemetryConfig,
    /// The registry, whose functions it schedules.
    pub registry: Endpoint,
    /// The sink service, which takes the results of functions that have sinks.
    pub sink: Endpoint,
    /// How often a worker reports, in milliseconds. A worker that misses three reports is out.
    pub report_interval_ms: u32,
    /// The longest time that an invocation may take, retries included, in milliseconds. A caller's
    /// deadline and a function's own limit are usually shorter.
    pub max_invocation_ms: u64,
    /// How many decisions are remembered, to be explained.
    pub decisions_kept: usize,
    /// The seed of the strategy `random`, for who wants the same choices again. Absent: any.
    pub random_seed: Option<u64>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(4002),
            telemetry: TelemetryConfig::default(),
            registry: Endpoint::loopback(4001),
            sink: Endpoint::loopback(4005),
            report_interval_ms: 1000,
            max_invocation_ms: 15 * 60 * 1000,
            decisions_kept: 10_000,
            random_seed: None,
        }
    }
}

impl ServiceConfig for Config {
    const NAME: &'static str = "scheduler";

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        if self.report_interval_ms == 0 {
            return Err("report_interval_ms: expected at least 1".into());
        }
        if !(1..=1_000_000).contains(&self.decisions_kept) {
            return Err(format!(
                "decisions_kept: {} is out of range; expected 1 to 1000000",
                self.decisions_kept
            ));
        }
        Ok(())
    }
}
