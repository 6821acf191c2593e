//! Egress: the connections that functions, event sources and sinks make to the world outside the mesh.
//!
//! - `config`: the table `egress`; `rule`: its rules
//! - `class`: classes of addresses; `decide`: the decision
//! - `resolver`: look-ups of names; `connect`: connections to one of several addresses
//! - `http`: the HTTP client; `nats`: connections to NATS servers
//!
//! A name is resolved, each of its addresses is decided on, and only an allowed one is connected to: no second
//! look-up can answer differently.

mod class;
mod config;
mod connect;
mod decide;
mod http;
mod nats;
mod resolver;
mod rule;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntCounterVec, Registry};
use tokio::net::TcpStream;
use tokio::time::Instant;

pub use self::config::{EgressConfig, ProxyUrl, Restriction};
use self::connect::connect_to_any;
pub use self::decide::Denied;
use self::decide::{Destination, decide};
pub use self::http::{HttpClient, HttpError, HttpOptions, USER_AGENT};
pub use self::nats::{
    HeldPayload, MAX_PAYLOAD_BYTES, NATS_PORT, NatsConnection, NatsUser, Payloads, Violation,
};
pub use self::resolver::Resolver;
pub use self::rule::{Ports, Rule};
use crate::log_limit::LogLimit;
use crate::metrics::int_counter;

/// Functions can cause denials as often as they like.
const LOG_INTERVAL: Duration = Duration::from_secs(10);

/// The policy of a service. Clones share it.
#[derive(Debug, Clone)]
pub struct Egress(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    config: EgressConfig,
    mesh_ports: Vec<Ports>,
    resolver: Resolver,
    denied: IntCounterVec,
    log: LogLimit,
}

/// A connection that was not made.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// The policy denies it.
    #[error(transparent)]
    Denied(#[from] Denied),
    /// The name has no address, or nothing answers there.
    #[error(transparent)]
    Io(#[from] io::Error),
}

impl Egress {
    /// The policy of a service with these ports, for these kinds of connections.
    pub fn new(
        config: &EgressConfig,
        ports: impl IntoIterator<Item = u16>,
        resolver: Resolver,
        metrics: &Registry,
        kinds: &[&str],
    ) -> Self {
        let mesh_ports = ports.into_iter().map(Ports::one).chain(config.mesh_ports.iter().copied()).collect();
        let denied = int_counter(
            metrics,
            "funless_egress_denied_total",
            "Connections of functions, event sources and sinks that the egress policy has denied, by kind.",
            &["kind"],
        );
        for kind in kinds {
            denied.with_label_values(&[kind]);
        }
        let log = LogLimit::new(LOG_INTERVAL);
        Self(Arc::new(Shared { config: config.clone(), mesh_ports, resolver, denied, log }))
    }

    /// The connections of a function, given as `module/name`, or of one of its bindings. `kind` is `function`, or the
    /// kind of the binding.
    pub fn of(&self, kind: &'static str, function: &str) -> Outbound {
        Outbound { egress: self.clone(), kind, function: function.into() }
    }
}

/// The connections of a function, or of a binding. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Outbound {
    egress: Egress,
    kind: &'static str,
    /// `module/name`.
    function: Arc<str>,
}

impl Outbound {
    /// The addresses of a host that may be connected to, at least one.
    pub async fn resolve(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        self.allowed_addresses(host, port).await.inspect_err(|error| {
            if let ConnectError::Denied(denied) = error {
                self.record(denied);
            }
        })
    }

    /// Connects to one of the addresses of a host.
    pub async fn connect(&self, host: &str, port: u16) -> Result<TcpStream, ConnectError> {
        let addresses = self.resolve(host, port).await?;
        Ok(connect_to_any(&addresses).await?)
    }

    async fn allowed_addresses(&self, host: &str, port: u16) -> Result<Vec<SocketAddr>, ConnectError> {
        // Before the look-up, which may itself carry data out.
        self.decide(host, port, None)?;
        let host = host.trim_matches(['[', ']']);
        let (mut allowed, mut denied) = (Vec::new(), None);
        for address in self.egress.0.resolver.lookup(host, port).await? {
            match self.decide(host, port, Some(address.ip())) {
                Ok(()) => allowed.push(address),
                Err(reason) => denied = denied.or(Some(reason)),
            }
        }
        match denied {
            _ if !allowed.is_empty() => Ok(allowed),
            Some(denied) => Err(denied.into()),
            None => Err(io::Error::other(format!("{host} has no address")).into()),
        }
    }

    fn decide(&self, host: &str, port: u16, address: Option<IpAddr>) -> Result<(), Denied> {
        let Shared { config, mesh_ports, .. } = &*self.egress.0;
        decide(config, mesh_ports, Destination { function: &self.function, host, port, address })
    }

    /// Counts and logs a denial.
    fn record(&self, denied: &Denied) {
        let shared = &self.egress.0;
        shared.denied.with_label_values(&[self.kind]).inc();
        if let Some(suppressed) = shared.log.allow(Instant::now()) {
            let (kind, function) = (self.kind, &*self.function);
            tracing::warn!(kind, function, address = ?denied.address, suppressed, "{denied}");
        }
    }
}

#[cfg(test)]
mod tests;
