//! All the knobs of the sink.

use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use mesh::database::DatabaseUrl;
use mesh::endpoint::Endpoint;
use serde::Deserialize;

/// The sink's configuration. See [`mesh::config`] for where it is read from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it serves; port 4005.
    pub server: ServerConfig,
    /// How it is seen.
    pub telemetry: TelemetryConfig,
    /// Where the registry is.
    pub registry: Endpoint,
    /// The database of the outbox: `sqlite:PATH`, `sqlite::memory:` or
    /// `postgres://user:password@host/database`. Replicas share one.
    pub database_url: DatabaseUrl,
    /// Connections to the database that are open at most. A database in memory has one.
    pub database_connections: u32,
    /// Results in the outbox, all together, in bytes. What does not fit is refused as OVERLOADED.
    pub max_outbox_bytes: u64,
    /// Results in the outbox. What does not fit is refused as OVERLOADED.
    pub max_outbox_rows: u64,
    /// How long a delivered result is remembered, so that a repeat of it is recognised, in seconds.
    pub remember_delivered_s: u64,
    /// How many results are remembered at most: about so many of the newest.
    pub remember_delivered_rows: u64,
    /// How long the registry must have been seen without a binding before the results that wait for it
    /// are dead letters, in seconds. One that was removed while it ran here is known to be gone at once.
    pub removed_after_s: u64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(4005),
            telemetry: TelemetryConfig::default(),
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
    use super::*;

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(Config::default().validate(), Ok(()));
        type Change = fn(&mut Config);
        let cases: [(&str, Change); 3] = [
            ("max_outbox_rows", |c| c.max_outbox_rows = 0),
            ("max_outbox_bytes", |c| c.max_outbox_bytes = 0),
            ("removed_after_s", |c| c.removed_after_s = 0),
        ];
        for (key, change) in cases {
            let mut config = Config::default();
            change(&mut config);
            let error = config.validate().expect_err(key);
            assert!(error.starts_with(key), "{error:?} names {key}");
        }
    }
}
