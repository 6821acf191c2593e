//! The registry's configuration.

use mesh::auth::Secret;
use mesh::config::{ServerConfig, ServiceConfig, TelemetryConfig};
use mesh::database::DatabaseUrl;
use mesh::wasm::{DEFAULT_MEMORY_BYTES, MAX_MEMORY_BYTES, PAGE_BYTES};
use serde::Deserialize;

use crate::keyring::Keyring;

/// A token with less entropy can be guessed.
const MIN_TOKEN_BITS: u32 = 128;
/// A replica renews its leases three times per lease duration; a shorter one would cause too many calls.
const MIN_BINDING_LEASE_MS: u32 = 100;

/// The registry's configuration. See [`mesh::config`] for where it is read from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The gRPC and admin listeners; port 4001.
    pub server: ServerConfig,
    /// Logs, traces and metrics.
    pub telemetry: TelemetryConfig,
    /// The database: `sqlite:PATH`, `sqlite::memory:` or `postgres://user:password@host/database`.
    pub database_url: DatabaseUrl,
    /// The maximum number of connections to the database. An in-memory database has one.
    pub database_connections: u32,
    /// The token of the bootstrap subject `guest`, which never expires. Absent: the subject is not created.
    pub guest_token: Option<Secret>,
    /// The token of the bootstrap administrator `admin`, which never expires. Absent: it is not created.
    pub admin_token: Option<Secret>,
    /// How long a subject's token is valid after it is issued, in seconds.
    pub token_ttl_s: u64,
    /// The maximum size of a function's binary, in bytes.
    pub max_code_bytes: u32,
    /// The memory of one invocation that workers allow at most, in bytes: the largest `memory_bytes` of the workers.
    /// Code that begins with more memory can never run and is refused.
    pub max_memory_bytes: u64,
    /// The memory for all uploads in progress, in bytes. Uploads that would exceed it are refused with
    /// OVERLOADED.
    pub upload_memory_bytes: u32,
    /// The parameters of all events and sinks of one subject's functions, in bytes, as they are stored: encrypted.
    /// Connector and sink hold them in memory.
    pub max_params_bytes_per_subject: u32,
    /// The number of revisions kept in the change log. A watcher that is further behind gets a snapshot.
    pub changes_kept: u32,
    /// The key that encrypts the stored parameters of events and sinks: 64 hexadecimal digits, such as the
    /// output of `openssl rand -hex 32`. Absent: functions cannot have events and sinks.
    pub encryption_key: Option<Secret>,
    /// Keys that may still encrypt stored parameters. At startup, such parameters are encrypted again with
    /// `encryption_key`. To rotate the key of several replicas, first add the new key here on all of them,
    /// then make it the `encryption_key` and move the old one here.
    pub former_encryption_keys: Vec<Secret>,
    /// The duration of the leases of replicas that run events or sinks, in milliseconds. A replica that has
    /// not called for this long is considered dead, and others take over its bindings.
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
            max_memory_bytes: DEFAULT_MEMORY_BYTES,
            upload_memory_bytes: 256 << 20,
            max_params_bytes_per_subject: 16 << 20,
            changes_kept: 10_000,
            encryption_key: None,
            former_encryption_keys: Vec::new(),
            binding_lease_ms: 6_000,
        }
    }
}

impl Config {
    /// The encryption keys. An error names the configuration key and the problem.
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
            ("max_params_bytes_per_subject", u64::from(self.max_params_bytes_per_subject)),
            ("changes_kept", u64::from(self.changes_kept)),
        ];
        if let Some((key, _)) = positive.iter().find(|(_, value)| *value == 0) {
            return Err(format!("{key}: expected at least 1"));
        }
        if !(PAGE_BYTES..=MAX_MEMORY_BYTES).contains(&self.max_memory_bytes) {
            return Err(format!("max_memory_bytes: expected {PAGE_BYTES} to {MAX_MEMORY_BYTES}"));
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
    /// Warnings about settings that are valid but insecure, logged at each start.
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
    use mesh::testing::config::assert_invalid;

    use super::*;

    #[test]
    fn a_weak_admin_token_causes_a_warning() {
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

    #[test]
    fn errors_name_the_key() {
        assert_invalid::<Config>(&[
            ("changes_kept", |c| c.changes_kept = 0),
            ("token_ttl_s", |c| c.token_ttl_s = 0),
            ("max_memory_bytes: expected 65536 to 4294967296", |c| c.max_memory_bytes = 1),
            ("upload_memory_bytes", |c| c.upload_memory_bytes = 1),
            ("admin_token", |c| c.admin_token = Some(Secret::new(" "))),
            ("guest_token", |c| {
                c.guest_token = Some(Secret::new("same"));
                c.admin_token = Some(Secret::new("same"));
            }),
            ("encryption_key", |c| c.encryption_key = Some(Secret::new("too short"))),
            ("former_encryption_keys", |c| c.former_encryption_keys = vec![Secret::new("too short")]),
            ("binding_lease_ms", |c| c.binding_lease_ms = 99),
        ]);
    }

    #[test]
    fn debug_output_hides_secrets() {
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
