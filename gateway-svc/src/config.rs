//! The gateway's configuration.

use std::net::SocketAddr;

use mesh::MAX_MESSAGE_BYTES;
use mesh::config::{Listen, ServerConfig, ServiceConfig, TelemetryConfig};
use mesh::endpoint::Endpoint;
use serde::Deserialize;

/// The maximum of `token_cache_s`.
const MAX_TOKEN_CACHE_S: u64 = 4;
/// The size of a message without the arguments in it, at most.
const MESSAGE_OVERHEAD_BYTES: usize = 64 << 10;

/// A day: a longer timeout is probably in the wrong unit.
const MAX_TIMEOUT_S: u64 = 24 * 3600;
/// Reading a function must not wait long for a service that is unavailable.
const MAX_STATUS_TIMEOUT_MS: u64 = 10_000;

/// The name of the listener for gRPC clients.
pub(crate) const GRPC_LISTENER: &str = "grpc_listen";

/// The configuration of the gateway.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// The REST port. `max_concurrent` applies to each of the two ports.
    pub server: ServerConfig,
    /// Logs and traces.
    pub telemetry: TelemetryConfig,
    /// The port for gRPC clients.
    pub grpc_listen: Listen,
    /// The registry.
    pub registry: Endpoint,
    /// The scheduler.
    pub scheduler: Endpoint,
    /// The connector, for event sources.
    pub connector: Endpoint,
    /// The sink service.
    pub sink: Endpoint,
    /// The maximum size of a JSON body in bytes, including an invocation's arguments.
    pub max_args_bytes: usize,
    /// The maximum size of a function's binary in bytes.
    pub max_code_bytes: u64,
    /// How long a verified token is cached, in seconds; at most 4. Since the registry may take another second
    /// to answer, a revoked token is refused within 5 s.
    pub token_cache_s: u64,
    /// How long verified tokens stay valid while the registry cannot be reached, in seconds; at most a day. Tokens that
    /// the registry confirmed within this time before the outage count. 0: not at all.
    pub token_grace_s: u64,
    /// How many unknown tokens an address may present before further unknown ones are delayed; 0: any number. An address
    /// is an IPv4 address or an IPv6 /64 network.
    pub max_unknown_tokens: u32,
    /// The minimum rate at which the body of a request must arrive, in bytes per second; a slower one is cut off after 10
    /// s. 0: any rate.
    pub min_body_bytes_per_s: u32,
    /// The timeout of calls to other services, in seconds.
    pub request_timeout_s: u64,
    /// How long creating or updating a function waits until the workers have its code, in seconds.
    pub wait_for_workers_timeout_s: u64,
    /// How long creating or updating a function waits for the state of its events and sinks, in seconds.
    pub binding_timeout_s: u64,
    /// How long reading a function waits for the state of its events and sinks, and reading a script for the
    /// scheduler to parse it, in milliseconds. After that, the state is reported as unknown.
    pub status_timeout_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        let on_loopback = |port: u16| {
            let uri = format!("http://127.0.0.1:{port}");
            Endpoint::Tcp(uri.parse().expect("the address is well-formed"))
        };
        Self {
            server: ServerConfig::on_port(4000),
            telemetry: TelemetryConfig::default(),
            grpc_listen: Listen::Tcp(SocketAddr::from(([127, 0, 0, 1], 4010))),
            registry: on_loopback(4001),
            scheduler: on_loopback(4002),
            connector: on_loopback(4004),
            sink: on_loopback(4005),
            max_args_bytes: 8_000_000,
            max_code_bytes: 64 << 20,
            token_cache_s: 4,
            token_grace_s: 3600,
            max_unknown_tokens: 20,
            min_body_bytes_per_s: 1024,
            request_timeout_s: 120,
            wait_for_workers_timeout_s: 60,
            binding_timeout_s: 3,
            status_timeout_ms: 500,
        }
    }
}

impl ServiceConfig for Config {
    const NAME: &'static str = "gateway";
    const INTERNAL: bool = false;

    fn server(&self) -> &ServerConfig {
        &self.server
    }

    fn telemetry(&self) -> &TelemetryConfig {
        &self.telemetry
    }

    fn validate(&self) -> Result<(), String> {
        let max_args = MAX_MESSAGE_BYTES - MESSAGE_OVERHEAD_BYTES;
        if !(1..=max_args).contains(&self.max_args_bytes) {
            return Err(format!("max_args_bytes: expected 1 to {max_args}, not {}", self.max_args_bytes));
        }
        if self.max_code_bytes == 0 {
            return Err("max_code_bytes: expected at least 1".into());
        }
        if self.token_cache_s > MAX_TOKEN_CACHE_S {
            return Err(format!(
                "token_cache_s: expected at most {MAX_TOKEN_CACHE_S}, so that a revoked token ends in time; not {}",
                self.token_cache_s
            ));
        }
        if self.token_grace_s > MAX_TIMEOUT_S {
            return Err(format!(
                "token_grace_s: expected at most {MAX_TIMEOUT_S} seconds, not {}",
                self.token_grace_s
            ));
        }
        for (key, seconds) in [
            ("request_timeout_s", self.request_timeout_s),
            ("wait_for_workers_timeout_s", self.wait_for_workers_timeout_s),
            ("binding_timeout_s", self.binding_timeout_s),
        ] {
            if !(1..=MAX_TIMEOUT_S).contains(&seconds) {
                return Err(format!("{key}: expected 1 to {MAX_TIMEOUT_S} seconds, not {seconds}"));
            }
        }
        if !(1..=MAX_STATUS_TIMEOUT_MS).contains(&self.status_timeout_ms) {
            return Err(format!(
                "status_timeout_ms: expected 1 to {MAX_STATUS_TIMEOUT_MS} milliseconds, not {}",
                self.status_timeout_ms
            ));
        }
        Ok(())
    }

    fn more_listeners(&self) -> Vec<(&'static str, Listen)> {
        vec![(GRPC_LISTENER, self.grpc_listen.clone())]
    }
}

#[cfg(test)]
mod tests {
    use mesh::testing::config::assert_invalid;

    use super::*;

    #[test]
    fn errors_name_the_key() {
        assert_invalid::<Config>(&[
            ("token_cache_s: expected at most 4", |c| c.token_cache_s = 5),
            ("token_grace_s: expected at most 86400", |c| c.token_grace_s = 86_401),
            ("max_args_bytes: expected 1 to", |c| c.max_args_bytes = 0),
            ("max_args_bytes: expected 1 to", |c| c.max_args_bytes = MAX_MESSAGE_BYTES),
            ("max_code_bytes", |c| c.max_code_bytes = 0),
            ("request_timeout_s: expected 1 to", |c| c.request_timeout_s = 0),
            ("status_timeout_ms: expected 1 to", |c| c.status_timeout_ms = 60_000),
        ]);
    }
}
