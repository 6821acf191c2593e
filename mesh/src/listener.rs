//! Listening, accepting and draining: one loop for REST and gRPC, TCP and Unix sockets.

mod address;
mod stream;

use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd;
use std::time::Duration;

use anyhow::Context as _;
use hyper::body::Incoming;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_rustls::server::TlsStream;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use self::address::CountedConnection;
pub use self::address::{ClientAddress, ConnectionLimit};
use self::stream::{HasLeft, ServerStream, has_left};

use crate::config::Listen;
use crate::endpoint::Endpoint;
use crate::http2::{CONNECTION_WINDOW, STREAM_WINDOW};

const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A client that connects and sends nothing is disconnected.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// The pause after `accept` has failed, for example because there are no file descriptors left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket.
pub struct Listener {
    socket: Socket,
    tls: Option<tokio_rustls::TlsAcceptor>,
    limit: ConnectionLimit,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds the socket. A stale Unix socket is replaced.
    pub async fn bind(listen: &Listen) -> anyhow::Result<Self> {
        let socket = match listen {
            Listen::Tcp(address) => Socket::Tcp(
                TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?,
            ),
            Listen::Unix(path) => {
                if tokio::net::UnixStream::connect(path).await.is_err() {
                    let _ = std::fs::remove_file(path);
                }
                let bound = UnixListener::bind(path);
                Socket::Unix(bound.with_context(|| format!("cannot listen on {}", path.display()))?)
            }
        };
        Ok(Self { socket, tls: None, limit: ConnectionLimit::default() })
    }

    /// Serves TLS if `acceptor` is given.
    #[must_use]
    pub fn with_tls(mut self, acceptor: Option<tokio_rustls::TlsAcceptor>) -> Self {
        self.tls = acceptor;
        self
    }

    /// Closes connections over `limit` at once.
    #[must_use]
    pub fn with_limit(mut self, limit: ConnectionLimit) -> Self {
        self.limit = limit;
        self
    }

    /// The bound address, for TCP.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// The endpoint at which clients reach it.
    pub fn endpoint(&self) -> anyhow::Result<Endpoint> {
        let text = match &self.socket {
            Socket::Tcp(listener) => {
                let scheme = if self.tls.is_some() { "https" } else { "http" };
                format!("{scheme}://{}", listener.local_addr()?)
            }
            Socket::Unix(listener) => {
                let address = listener.local_addr()?;
                format!("unix:{}", address.as_pathname().context("the socket has no path")?.display())
            }
        };
        text.parse().map_err(anyhow::Error::msg)
    }

    /// Accepts connections and serves `router` on them until `draining` is cancelled; then waits up to
    /// `drain_timeout` for running requests. No connection outlives this future.
    pub async fn serve(self, router: axum::Router, draining: CancellationToken, drain_timeout: Duration) {
        let connections = GracefulShutdown::new();
        let cut = CancellationToken::new();
        let _cut_on_return = cut.clone().drop_guard();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = draining.cancelled() => break,
            };
            match accepted {
                Ok(Accepted::Tcp(stream, peer)) => {
                    let Some(counted) = self.limit.admit(ClientAddress::from(peer.ip())) else { continue };
                    let _ = stream.set_nodelay(true);
                    let client = Some(counted);
                    match self.tls.clone() {
                        None => serve_connection(stream, client, router.clone(), &connections, cut.clone()),
                        Some(tls) => {
                            serve_tls(tls, stream, client, router.clone(), &connections, cut.clone())
                        }
                    }
                }
                Ok(Accepted::Unix(stream)) => {
                    serve_connection(stream, None, router.clone(), &connections, cut.clone())
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self);
        drain(connections, drain_timeout).await;
    }

    async fn accept(&self) -> io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => {
                listener.accept().await.map(|(stream, peer)| Accepted::Tcp(stream, peer))
            }
            Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

enum Accepted {
    Tcp(TcpStream, SocketAddr),
    Unix(tokio::net::UnixStream),
}

/// Serves `router` on an established connection until it ends or `draining` is cancelled; then waits up to
/// `drain_timeout` for running requests. The connection does not outlive this future.
pub async fn serve_one<S>(
    stream: S,
    router: axum::Router,
    draining: CancellationToken,
    drain_timeout: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connections = GracefulShutdown::new();
    let mut connection = std::pin::pin!(serve_http(stream, |_| false, None, router, connections.watcher()));
    tokio::select! {
        () = &mut connection => return,
        () = draining.cancelled() => {}
    }
    tokio::select! {
        () = connection => {}
        () = drain(connections, drain_timeout) => {}
    }
}

/// Waits for running requests.
async fn drain(connections: GracefulShutdown, drain_timeout: Duration) {
    let open = connections.count();
    if tokio::time::timeout(drain_timeout, connections.shutdown()).await.is_err() {
        tracing::warn!(open, "connections did not end before the drain timeout");
    }
}

/// Serves a connection in a task of its own. `connections` waits for it and `cut` ends it.
fn serve_connection<S>(
    stream: S,
    client: Option<CountedConnection>,
    router: axum::Router,
    connections: &GracefulShutdown,
    cut: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + AsFd + Unpin + Send + 'static,
{
    let connection = serve_http(stream, has_left, client, router, connections.watcher());
    tokio::spawn(async move { cut.run_until_cancelled(connection).await });
}

fn serve_tls(
    tls: tokio_rustls::TlsAcceptor,
    stream: TcpStream,
    client: Option<CountedConnection>,
    router: axum::Router,
    connections: &GracefulShutdown,
    cut: CancellationToken,
) {
    let watcher = connections.watcher();
    tokio::spawn(async move {
        match tokio::time::timeout(HEADER_READ_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => {
                let has_left = |stream: &TlsStream<TcpStream>| has_left(stream.get_ref().0);
                cut.run_until_cancelled(serve_http(stream, has_left, client, router, watcher)).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake timed out"),
        }
    });
}

/// Serves HTTP/1 or HTTP/2. Requests have the [`ClientAddress`] of a `client` as an extension.
async fn serve_http<S>(
    stream: S,
    has_left: HasLeft<S>,
    client: Option<CountedConnection>,
    router: axum::Router,
    watcher: Watcher,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder();
    let stream = TokioIo::new(ServerStream::new(stream, has_left));
    let address = client.as_ref().map(CountedConnection::address);
    let service = router.map_request(move |mut request: http::Request<Incoming>| {
        if let Some(address) = address {
            request.extensions_mut().insert(address);
        }
        request
    });
    let connection = builder.serve_connection(stream, TowerToHyperService::new(service));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection failed");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        // Permits limit calls and refuse at once; a limit here would queue calls unseen.
        .max_concurrent_streams(None)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}
