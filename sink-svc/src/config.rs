//! The sink's configuration.

use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use mesh::database::DatabaseUrl;
use mesh::egress::EgressConfig;
use mesh::endpoint::Endpoint;
use serde::Deserialize;

/// The sink's configuration. See [`mesh::config`] for where it is read from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it serves; port 4005.
    pub server: ServerConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// What sinks may connect to.
    pub egress: EgressConfig,
    /// The registry, which has the bindings.
    pub registry: Endpoint,
    /// The outbox: `sqlite:PATH`, `sqlite::memory:` or `postgres://user:password@host/database`. Several
    /// sinks share a PostgreSQL.
    pub database_url: DatabaseUrl,
    /// The maximum number of database connections. An in-memory database has one.
    pub database_connections: u32,
    /// The maximum size of all results in the outbox, in bytes. More results are refused as OVERLOADED.
    pub max_outbox_bytes: u64,
    /// The maximum number of results in the outbox. More results are refused as OVERLOADED.
    pub max_outbox_rows: u64,
    /// How long a delivered result is remembered for deduplication, in seconds.
    pub remember_delivered_s: u64,
    /// The approximate maximum number of delivered results that are remembered.
    pub remember_delivered_rows: u64,
    /// How long a binding must have been missing from the registry before its pending results become dead
    /// letters, in seconds. If a binding is removed while it runs here, its results become dead letters at
    /// once.
    pub removed_after_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(4005),
            telemetry: TelemetryConfig::default(),
            egress: EgressConfig::default(),
            registry: Endpoint::loopback(4001),
            database_url: DatabaseUrl::SqliteFile("./.funless/sink.db".into()),
            database_connections: 8,
            max_outbox_bytes: 256 << 20,
            max_outbox_rows: 1_000_000,
            remember_delivered_s: 24 * 3600,
            remember_delivered_rows: 1_000_000,
            removed_after_s: 30,
        }
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

    fn validate(&self) -> Result<(), String> {
        self.egress.validate()?;
        let positive = [
            ("database_connections", u64::from(self.database_connections)),
            ("max_outbox_bytes", self.max_outbox_bytes),
            ("max_outbox_rows", self.max_outbox_rows),
            ("remember_delivered_s", self.remember_delivered_s),
            ("remember_delivered_rows", self.remember_delivered_rows),
            ("removed_after_s", self.removed_after_s),
        ];
        match positive.iter().find(|(_, value)| *value == 0) {
            Some((key, _)) => Err(format!("{key}: expected at least 1")),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use mesh::testing::config::assert_invalid;

    use super::*;

    #[test]
    fn errors_name_the_key() {
        assert_invalid::<Config>(&[
            ("database_connections", |c| c.database_connections = 0),
            ("max_outbox_rows", |c| c.max_outbox_rows = 0),
            ("max_outbox_bytes", |c| c.max_outbox_bytes = 0),
            ("removed_after_s", |c| c.removed_after_s = 0),
        ]);
    }
}
