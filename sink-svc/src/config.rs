//! All the knobs of the sink.

use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use serde::Deserialize;

/// The sink's configuration. See [`mesh::config`] for where it is read from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it serves; port 4005.
    pub server: ServerConfig,
    /// How it is seen.
    pub telemetry: TelemetryConfig,
}

impl Default for Config {
    fn default() -> Self {
        Self { server: ServerConfig::on_port(4005), telemetry: TelemetryConfig::default() }
    }
}

impl ServiceConfig for Config {
    const NAME: &'static str = "sink";

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }
}
