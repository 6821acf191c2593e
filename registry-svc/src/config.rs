//! All the knobs of the registry.

use mesh::auth::Secret;
use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use serde::Deserialize;

use crate::store::DatabaseUrl;

/// The registry's configuration. See [`mesh::config`] for where it is read from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// How it serves; port 4001.
    pub server: ServerConfig,
    /// How it is seen.
    pub telemetry: TelemetryConfig,
    /// The database: `sqlite:PATH`, `sqlite::memory:` or `postgres://user:password@host/database`.
    pub database_url: DatabaseUrl,
    /// Connections to the database that are open at most. A database in memory has one.
    pub database_connections: u32,
    /// The token of the bootstrap subject `guest`. It never expires. Absent: there is none.
    pub guest_token: Option<Secret>,
    /// The token of the bootstrap administrator `admin`. It never expires. Absent: there is none.
    pub admin_token: Option<Secret>,
    /// How long the token of a subject is valid after it was issued, in seconds.
    pub token_ttl_s: u64,
    /// The largest binary of a function, in bytes.
    pub max_code_bytes: u32,
    /// Memory for uploads that have not ended, all together, in bytes. What does not fit is refused
    /// as OVERLOADED.
    pub upload_memory_bytes: u32,
    /// Revisions of the change log that are kept. A follower that is further behind gets a snapshot.
    pub changes_kept: u32,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            server: ServerConfig::on_port(4001),
            telemetry: TelemetryConfig::default(),
            database_url: DatabaseUrl::SqliteFile("./.funless/registry.db".into()),
            database_connections: 8,
            guest_token: None,
            admin_token: None,
            token_ttl_s: 14 * 24 * 3600,
            max_code_bytes: 64 << 20,
            upload_memory_bytes: 256 << 20,
            changes_kept: 10_000,
        }
    }
}

impl ServiceConfig for Config {
    const NAME: &'static str = "registry";

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        let positive = [
            ("database_connections", u64::from(self.database_connections)),
            ("token_ttl_s", self.token_ttl_s),
            ("max_code_bytes", u64::from(self.max_code_bytes)),
            ("changes_kept", u64::from(self.changes_kept)),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{key}: expected at least 1"));
        }
        if self.upload_memory_bytes < self.max_code_bytes {
            return Err("upload_memory_bytes: expected at least max_code_bytes".into());
        }
        for (key, token) in [("guest_token", &self.guest_token), ("admin_token", &self.admin_token)] {
            if token.as_ref().is_some_and(|token| token.expose().trim().is_empty()) {
                return Err(format!("{key}: can't be blank"));
            }
        }
        if self.guest_token.is_some() && self.guest_token == self.admin_token {
            return Err("guest_token: expected another one than admin_token".into());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn changed(change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = Config::default();
        change(&mut config);
        config.validate()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(changed(|_| {}), Ok(()));
        type Change = fn(&mut Config);
        let cases: [(&str, Change); 5] = [
            ("changes_kept", |c| c.changes_kept = 0),
            ("token_ttl_s", |c| c.token_ttl_s = 0),
            ("upload_memory_bytes", |c| c.upload_memory_bytes = 1),
            ("admin_token", |c| c.admin_token = Some(Secret::new(" "))),
            ("guest_token", |c| {
                c.guest_token = Some(Secret::new("same"));
                c.admin_token = Some(Secret::new("same"));
            }),
        ];
        for (key, change) in cases {
            let error = changed(change).expect_err(key);
            assert!(error.starts_with(key), "{error:?} names {key}");
        }
    }

    #[test]
    fn secrets_do_not_show() {
        let config = Config {
            database_url: "postgres://funless:hunter2@db/registry".parse().expect("valid"),
            admin_token: Some(Secret::new("hunter2")),
            ..Config::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
