//! Listening, accepting and draining: one loop for REST and gRPC, TCP and Unix sockets.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio_util::sync::CancellationToken;

use crate::channel::{CONNECTION_WINDOW, Endpoint, STREAM_WINDOW};
use crate::config::Listen;

const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(20);
/// A client that connects and says nothing is let go.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(30);
/// Pause after `accept` failed, for example for want of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A bound socket.
pub struct Listener {
    socket: Socket,
    tls: Option<tokio_rustls::TlsAcceptor>,
}

enum Socket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl Listener {
    /// Binds. A Unix socket that nobody listens on any more is replaced.
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
        Ok(Self { socket, tls: None })
    }

    /// Serves TLS on it, if there is an acceptor.
    #[must_use]
    pub fn with_tls(mut self, acceptor: Option<tokio_rustls::TlsAcceptor>) -> Self {
        self.tls = acceptor;
        self
    }

    /// The TCP address that it is bound to.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match &self.socket {
            Socket::Tcp(listener) => listener.local_addr().ok(),
            Socket::Unix(_) => None,
        }
    }

    /// How others reach it.
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

    /// Accepts connections and serves `router` on them until `draining` is cancelled; then lets the
    /// requests that run finish, at most for `drain_timeout`. No connection outlives this future.
    pub async fn serve(self, router: axum::Router, draining: CancellationToken, drain_timeout: Duration) {
        let connections = GracefulShutdown::new();
        let cut = CancellationToken::new();
        let _cut_in_the_end = cut.clone().drop_guard();
        loop {
            let accepted = tokio::select! {
                accepted = self.accept() => accepted,
                () = draining.cancelled() => break,
            };
            match accepted {
                Ok(Accepted::Tcp(stream)) => {
                    let _ = stream.set_nodelay(true);
                    match self.tls.clone() {
                        None => serve_connection(stream, router.clone(), &connections, cut.clone()),
                        Some(tls) => serve_tls(tls, stream, router.clone(), &connections, cut.clone()),
                    }
                }
                Ok(Accepted::Unix(stream)) => {
                    serve_connection(stream, router.clone(), &connections, cut.clone())
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a connection");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(self);
        let open = connections.count();
        if tokio::time::timeout(drain_timeout, connections.shutdown()).await.is_err() {
            tracing::warn!(open, "connections did not end in time");
        }
    }

    async fn accept(&self) -> std::io::Result<Accepted> {
        match &self.socket {
            Socket::Tcp(listener) => listener.accept().await.map(|(stream, _)| Accepted::Tcp(stream)),
            Socket::Unix(listener) => listener.accept().await.map(|(stream, _)| Accepted::Unix(stream)),
        }
    }
}

enum Accepted {
    Tcp(TcpStream),
    Unix(tokio::net::UnixStream),
}

/// The connection's task ends with the connection, which `connections` waits for and `cut` cuts.
fn serve_connection<S>(
    stream: S,
    router: axum::Router,
    connections: &GracefulShutdown,
    cut: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    tokio::spawn(speak(stream, router, connections.watcher(), cut));
}

fn serve_tls(
    tls: tokio_rustls::TlsAcceptor,
    stream: TcpStream,
    router: axum::Router,
    connections: &GracefulShutdown,
    cut: CancellationToken,
) {
    let watcher = connections.watcher();
    tokio::spawn(async move {
        match tokio::time::timeout(HEADER_READ_TIMEOUT, tls.accept(stream)).await {
            Ok(Ok(stream)) => speak(stream, router, watcher, cut).await,
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    });
}

async fn speak<S>(stream: S, router: axum::Router, watcher: Watcher, cut: CancellationToken)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder();
    let connection = builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    if let Some(Err(error)) = cut.run_until_cancelled(watcher.watch(connection)).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}

fn builder() -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(KEEP_ALIVE_INTERVAL)
        .initial_stream_window_size(STREAM_WINDOW)
        .initial_connection_window_size(CONNECTION_WINDOW);
    builder
}
