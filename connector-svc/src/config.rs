//! The connector's configuration.

use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use mesh::database::DatabaseUrl;
use mesh::egress::EgressConfig;
use mesh::endpoint::Endpoint;
use serde::Deserialize;

/// The maximum duration of an invocation, in seconds.
const MAX_INVOCATION_S: u64 = 15 * 60;

/// The connector's configuration. See [`mesh::config`] for where it is read from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it serves; port 4004.
    pub server: ServerConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// What event sources may connect to.
    pub egress: EgressConfig,
    /// The registry, which has the bindings.
    pub registry: Endpoint,
    /// The scheduler, which runs the functions.
    pub scheduler: Endpoint,
    /// The database: `sqlite:PATH`, `sqlite::memory:` or `postgres://user:password@host/database`.
    /// Several connectors share a PostgreSQL.
    pub database_url: DatabaseUrl,
    /// The maximum number of database connections. An in-memory database has one.
    pub database_connections: u32,
    /// How long one attempt to run a function may take, in seconds; at most 900.
    pub invocation_timeout_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(4004),
            telemetry: TelemetryConfig::default(),
            egress: EgressConfig::default(),
            registry: Endpoint::loopback(4001),
            scheduler: Endpoint::loopback(4002),
            database_url: DatabaseUrl::SqliteFile("./.funless/connector.db".into()),
            database_connections: 4,
            invocation_timeout_s: MAX_INVOCATION_S,
        }
    }
}

impl ServiceConfig for Config {
    const NAME: &'static str = "connector";

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        self.egress.validate()?;
        if self.database_connections == 0 {
            return Err("database_connections: expected at least 1".into());
        }
        if !(1..=MAX_INVOCATION_S).contains(&self.invocation_timeout_s) {
            return Err(format!("invocation_timeout_s: expected 1 to {MAX_INVOCATION_S} seconds"));
        }
        Ok(())
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
            ("invocation_timeout_s", |c| c.invocation_timeout_s = 0),
            ("invocation_timeout_s", |c| c.invocation_timeout_s = 901),
        ]);
    }
}
