//! Connects to TCP ports, with or without TLS, and to Unix sockets.

use std::error::Error as StdError;
use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Uri;
use hyper_util::client::legacy::connect::HttpConnector;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UnixStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tower::ServiceExt as _;

pub(super) type BoxError = Box<dyn StdError + Send + Sync>;

/// How long connecting may take, with TLS.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// The kernel detects a peer whose host has vanished within the sum of these, while there are no calls.
const IDLE_PROBE_AFTER: Duration = Duration::from_secs(5);
const IDLE_PROBE_INTERVAL: Duration = Duration::from_secs(1);
const IDLE_PROBES: u32 = 3;

/// Connects to TCP ports.
#[derive(Debug, Clone)]
pub(super) struct Tcp(HttpConnector);

impl Tcp {
    pub(super) fn new() -> Self {
        let mut connector = HttpConnector::new();
        connector.set_nodelay(true);
        connector.set_keepalive(Some(IDLE_PROBE_AFTER));
        connector.set_keepalive_interval(Some(IDLE_PROBE_INTERVAL));
        connector.set_keepalive_retries(Some(IDLE_PROBES));
        Self(connector)
    }

    pub(super) async fn connect(self, to: Uri) -> Result<TcpStream, BoxError> {
        in_time(async { Ok(self.0.oneshot(to).await?.into_inner()) }).await
    }

    /// Connects to a port of TLS, whose certificate must be for `name`.
    pub(super) async fn connect_tls(
        self,
        to: Uri,
        tls: TlsConnector,
        name: ServerName<'static>,
    ) -> Result<TlsStream<TcpStream>, BoxError> {
        in_time(async {
            let stream = self.0.oneshot(to).await?.into_inner();
            let stream = tls.connect(name, stream).await?;
            match stream.get_ref().1.alpn_protocol() {
                Some(b"h2") => Ok(stream),
                _ => Err("the server does not offer HTTP/2".into()),
            }
        })
        .await
    }
}

/// Connects to a Unix socket.
pub(super) async fn unix(path: Arc<Path>) -> Result<UnixStream, BoxError> {
    in_time(async { Ok(UnixStream::connect(&*path).await?) }).await
}

async fn in_time<T>(connect: impl Future<Output = Result<T, BoxError>>) -> Result<T, BoxError> {
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, "it does not accept the connection in time");
    tokio::time::timeout(CONNECT_TIMEOUT, connect).await.map_err(late)?
}
