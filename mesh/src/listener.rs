//! Listening, accepting and draining: one loop for REST and gRPC, TCP and Unix sockets.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use anyhow::Context as _;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener};
use tokio::time::Sleep;
use tokio_util::sync::CancellationToken;

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
        Ok(Self { socket, tls: None })
    }

    /// Serves TLS if `acceptor` is given.
    #[must_use]
    pub fn with_tls(mut self, acceptor: Option<tokio_rustls::TlsAcceptor>) -> Self {
        self.tls = acceptor;
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
        drain(connections, drain_timeout).await;
    }

    async fn accept(&self) -> io::Result<Accepted> {
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
    let mut connection = std::pin::pin!(serve_http(stream, router, connections.watcher()));
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
    router: axum::Router,
    connections: &GracefulShutdown,
    cut: CancellationToken,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connection = serve_http(stream, router, connections.watcher());
    tokio::spawn(async move { cut.run_until_cancelled(connection).await });
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
            Ok(Ok(stream)) => {
                cut.run_until_cancelled(serve_http(stream, router, watcher)).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake timed out"),
        }
    });
}

async fn serve_http<S>(stream: S, router: axum::Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder();
    let stream = TokioIo::new(FirstBytes::new(stream));
    let connection = builder.serve_connection(stream, TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection failed");
    }
}

/// A stream that times out unless its peer sends the first bytes in time: hyper's detection of HTTP/1 or
/// HTTP/2 has no timeout of its own.
struct FirstBytes<S> {
    stream: S,
    /// `None` once enough bytes have been received.
    timeout: Option<Pin<Box<Sleep>>>,
    received: usize,
}

/// The length of the HTTP/2 connection preface.
const PREFACE_BYTES: usize = 24;

impl<S> FirstBytes<S> {
    fn new(stream: S) -> Self {
        Self { stream, timeout: Some(Box::pin(tokio::time::sleep(HEADER_READ_TIMEOUT))), received: 0 }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for FirstBytes<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        let Some(timeout) = &mut self.timeout else { return read };
        if read.is_pending() {
            return timeout.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        self.received += buffer.filled().len() - before;
        if self.received >= PREFACE_BYTES {
            self.timeout = None;
        }
        read
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for FirstBytes<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_sends_too_little_times_out() {
        for sent in ["", "PRI * HTTP"] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(sent.as_bytes()).await.expect("room");
            let mut stream = FirstBytes::new(server);
            let mut buffer = vec![0; sent.len()];
            stream.read_exact(&mut buffer).await.expect("the sent bytes");
            let error = stream.read_u8().await.expect_err("no more bytes");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{sent:?}");
        }
        let (mut client, server) = tokio::io::duplex(64);
        let mut stream = FirstBytes::new(server);
        client.write_all(&[b'x'; PREFACE_BYTES]).await.expect("room");
        stream.read_exact(&mut [0; PREFACE_BYTES]).await.expect("enough");
        let silence = tokio::time::timeout(2 * HEADER_READ_TIMEOUT, stream.read_u8()).await;
        assert!(silence.is_err(), "after the preface there is no timeout");
    }
}
