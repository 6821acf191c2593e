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

/// Serves `router` on a connection that is there already, until it ends or `draining` is cancelled; then
/// lets the requests that run finish, at most for `drain_timeout`. The connection does not outlive this
/// future.
pub async fn serve_one<S>(
    stream: S,
    router: axum::Router,
    draining: CancellationToken,
    drain_timeout: Duration,
) where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let connections = GracefulShutdown::new();
    let mut connection = std::pin::pin!(speak(stream, router, connections.watcher()));
    tokio::select! {
        () = &mut connection => return,
        () = draining.cancelled() => {}
    }
    tokio::select! {
        () = connection => {}
        () = drain(connections, drain_timeout) => {}
    }
}

/// Lets the requests that run finish.
async fn drain(connections: GracefulShutdown, drain_timeout: Duration) {
    let open = connections.count();
    if tokio::time::timeout(drain_timeout, connections.shutdown()).await.is_err() {
        tracing::warn!(open, "connections did not end in time");
    }
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
    let connection = speak(stream, router, connections.watcher());
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
                cut.run_until_cancelled(speak(stream, router, watcher)).await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    });
}

async fn speak<S>(stream: S, router: axum::Router, watcher: Watcher)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let builder = builder();
    let stream = TokioIo::new(FirstBytes::new(stream));
    let connection = builder.serve_connection(stream, TowerToHyperService::new(router));
    if let Err(error) = watcher.watch(connection).await {
        tracing::debug!(%error, "a connection ended badly");
    }
}

/// A stream whose peer has to say something in time: the part of a connection that decides between
/// HTTP/1 and HTTP/2 has no timer of its own.
struct FirstBytes<S> {
    stream: S,
    /// `None` once enough has come.
    patience: Option<Pin<Box<Sleep>>>,
    seen: usize,
}

/// The length of what an HTTP/2 connection starts with.
const PREFACE_BYTES: usize = 24;

impl<S> FirstBytes<S> {
    fn new(stream: S) -> Self {
        Self { stream, patience: Some(Box::pin(tokio::time::sleep(HEADER_READ_TIMEOUT))), seen: 0 }
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
        let Some(patience) = &mut self.patience else { return read };
        if read.is_pending() {
            return patience.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()));
        }
        self.seen += buffer.filled().len() - before;
        if self.seen >= PREFACE_BYTES {
            self.patience = None;
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
        // Permits bound calls, and refuse them at once; here they would wait unseen.
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
    async fn a_peer_that_says_too_little_is_let_go() {
        for said in ["", "PRI * HTTP"] {
            let (mut client, server) = tokio::io::duplex(64);
            client.write_all(said.as_bytes()).await.expect("room");
            let mut stream = FirstBytes::new(server);
            let mut heard = vec![0; said.len()];
            stream.read_exact(&mut heard).await.expect("what was said");
            let error = stream.read_u8().await.expect_err("silence");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{said:?}");
        }
        let (mut client, server) = tokio::io::duplex(64);
        let mut stream = FirstBytes::new(server);
        client.write_all(&[b'x'; PREFACE_BYTES]).await.expect("room");
        stream.read_exact(&mut [0; PREFACE_BYTES]).await.expect("enough");
        let silence = tokio::time::timeout(2 * HEADER_READ_TIMEOUT, stream.read_u8()).await;
        assert!(silence.is_err(), "from then on it is HTTP that decides");
    }
}
