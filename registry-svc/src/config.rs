//! All the knobs of the registry.

use mesh::auth::Secret;
use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use mesh::database::DatabaseUrl;
use serde::Deserialize;

use crate::keyring::Keyring;

/// Fewer can be guessed.
const MIN_TOKEN_BITS: u32 = 128;
/// A replica renews its leases three times within their length; a shorter one would ask too often.
const MIN_BINDING_LEASE_MS: u32 = 100;

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
    /// The key under which parameters of events and sinks are stored, 64 hexadecimal digits, such as
    /// `openssl rand -hex 32` gives. Absent: functions cannot have events and sinks.
    pub encryption_key: Option<Secret>,
    /// Keys under which parameters may still be stored. At the start these are stored again, under
    /// `encryption_key`. Replicas take a new key in two steps: first all have it here, then as
    /// `encryption_key`, with the old one here.
    pub former_encryption_keys: Vec<Secret>,
    /// How long the lease of a replica that runs events or sinks lasts, in milliseconds. One that has
    /// not called for so long is dead, and others take what it ran.
    pub binding_lease_ms: u32,
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
            encryption_key: None,
            former_encryption_keys: Vec::new(),
            binding_lease_ms: 6_000,
        }
    }
}

impl Config {
    /// The keys. An error names what is wrong.
    pub(crate) fn keyring(&self) -> Result<Keyring, String> {
        Keyring::new(self.encryption_key.as_ref(), &self.former_encryption_keys)
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
        if self.binding_lease_ms < MIN_BINDING_LEASE_MS {
            return Err(format!("binding_lease_ms: expected at least {MIN_BINDING_LEASE_MS}"));
        }
        self.keyring().map(drop)
    }
}

impl Config {
    /// What is allowed but unwise, to be logged at each start.
    pub(crate) fn warnings(&self) -> Vec<String> {
        let bits = self.admin_token.as_ref().map(Secret::max_entropy_bits);
        let weak = bits.filter(|bits| *bits < MIN_TOKEN_BITS).map(|bits| {
            format!(
                "admin_token has at most {bits} bits of entropy and can be guessed; expected at least \
                 {MIN_TOKEN_BITS}, such as the output of `openssl rand -hex 32`"
            )
        });
        weak.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weak_administrators_token_is_a_warning() {
        let warnings = |token: Option<&str>| {
            let config = Config { admin_token: token.map(Secret::new), ..Config::default() };
            config.warnings()
        };
        assert!(warnings(None).is_empty());
        assert!(warnings(Some(Secret::random().expose())).is_empty());
        for (weak, bits) in [("x", 4), ("hunter2", 36), ("0123456789abcdef0123456789abcde", 124)] {
            let warnings = warnings(Some(weak));
            assert!(warnings[0].starts_with(&format!("admin_token has at most {bits} bits")), "{warnings:?}");
            assert!(
                warnings[0].contains("at least 128") && (weak.len() < 4 || !warnings[0].contains(weak)),
                "{warnings:?}"
            );
        }
    }

    fn changed(change: impl FnOnce(&mut Config)) -> Result<(), String> {
        let mut config = Config::default();
        change(&mut config);
        config.validate()
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(changed(|_| {}), Ok(()));
        type Change = fn(&mut Config);
        let cases: [(&str, Change); 8] = [
            ("changes_kept", |c| c.changes_kept = 0),
            ("token_ttl_s", |c| c.token_ttl_s = 0),
            ("upload_memory_bytes", |c| c.upload_memory_bytes = 1),
            ("admin_token", |c| c.admin_token = Some(Secret::new(" "))),
            ("guest_token", |c| {
                c.guest_token = Some(Secret::new("same"));
                c.admin_token = Some(Secret::new("same"));
            }),
            ("encryption_key", |c| c.encryption_key = Some(Secret::new("too short"))),
            ("former_encryption_keys", |c| c.former_encryption_keys = vec![Secret::new("too short")]),
            ("binding_lease_ms", |c| c.binding_lease_ms = 99),
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
            encryption_key: Some(Secret::new("hunter2")),
            former_encryption_keys: vec![Secret::new("hunter2")],
            ..Config::default()
        };
        assert!(!format!("{config:?}").contains("hunter2"));
    }
}
