//! Support for the services' own tests: a service in this process, reached through a local channel or a socket on a
//! free port.

pub mod config;
#[cfg(feature = "database")]
pub mod database;
#[cfg(feature = "database")]
pub mod disk;
pub mod egress;
pub mod nats;
#[cfg(feature = "database")]
pub mod postgres;
pub mod spans;

use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, stream};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::channel::{Channel, Dialer};
use crate::config::{Listen, ServerConfig};
use crate::endpoint::Endpoint;
use crate::listener::Listener;
use crate::run::Host;
use crate::server::Service;
use crate::tunnel;

/// A host for a service under test that clients reach at `local:name`.
pub fn host(name: &str) -> Host {
    crate::tls::install_crypto();
    crate::telemetry::hand_on_contexts();
    Host::new(&ServerConfig::default(), Endpoint::Local(name.to_owned())).expect("the defaults are valid")
}

/// Serves `service` within this process, and returns a channel to it.
pub fn serve_local(host: &Host, service: &Service) -> Channel {
    host.dialer.provide_service(service.name, service);
    let _ = service.readiness.serving();
    host.dialer.dial(&Endpoint::Local(service.name.to_owned())).expect("a local endpoint")
}

/// A router served on a free port of the loopback interface until it is stopped or dropped.
#[derive(Debug)]
pub struct Served {
    /// Its endpoint.
    pub endpoint: Endpoint,
    draining: CancellationToken,
    task: JoinHandle<()>,
}

impl Served {
    /// Serves `router`.
    pub async fn start(router: axum::Router) -> Self {
        Self::start_at(0, router).await
    }

    /// Serves `router` on `port`; 0 selects a free port.
    pub async fn start_at(port: u16, router: axum::Router) -> Self {
        let listen = Listen::Tcp(([127, 0, 0, 1], port).into());
        let listener = Listener::bind(&listen).await.expect("a free port");
        let endpoint = listener.endpoint().expect("a bound port");
        let draining = CancellationToken::new();
        let task = tokio::spawn(listener.serve(router, draining.clone(), Duration::from_secs(5)));
        Self { endpoint, draining, task }
    }

    /// A channel to it.
    pub fn channel(&self) -> Channel {
        Dialer::default().dial(&self.endpoint).expect("a TCP endpoint")
    }

    /// Closes its connections at once, as when its process dies.
    pub fn kill(self) {
        self.task.abort();
    }

    /// Drains it and waits until it has stopped.
    pub async fn stop(mut self) {
        self.draining.cancel();
        let _ = (&mut self.task).await;
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.draining.cancel();
    }
}

/// A tunnel within this process: its two ends, and a token that breaks it.
pub fn tunnel() -> (
    impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    CancellationToken,
) {
    let broken = CancellationToken::new();
    let (one, chunks_of_one) = tunnel::sending();
    let (other, chunks_of_other) = tunnel::sending();
    let one = tunnel::end(carried(chunks_of_other, broken.clone()), one);
    let other = tunnel::end(carried(chunks_of_one, broken.clone()), other);
    (one, other, broken)
}

fn carried(
    chunks: impl Stream<Item = Bytes> + Send + 'static,
    broken: CancellationToken,
) -> impl Stream<Item = Result<Bytes, Status>> + Send + 'static {
    let carried = chunks.map(Ok).take_until(broken.clone().cancelled_owned());
    let end = stream::once(async move {
        let status = Status::unavailable("the tunnel broke");
        broken.is_cancelled().then_some(Err(status))
    });
    carried.chain(end.filter_map(std::future::ready))
}

/// Waits until `condition` holds. Panics with `what` after ten seconds.
pub async fn eventually<F>(what: &str, mut condition: impl FnMut() -> F)
where
    F: Future<Output = bool>,
{
    let waiting = tokio::time::timeout(Duration::from_secs(10), async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    assert!(waiting.await.is_ok(), "timed out waiting until {what}");
}
