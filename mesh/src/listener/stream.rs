//! The stream below HTTP, with the time limits that hyper does not have.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::HEADER_READ_TIMEOUT;

/// The first bytes of a client of HTTP/2.
const HTTP2: &[u8] = b"PRI";
/// The length of the HTTP/2 connection preface.
const PREFACE_BYTES: usize = 24;
/// After the last byte has been sent, a peer that sends nothing for this long is disconnected ...
const LINGER_SILENCE: Duration = Duration::from_millis(500);
/// ... and any other peer after this long.
const LINGER_TIMEOUT: Duration = Duration::from_secs(2);

/// A stream that times out unless its peer sends the first bytes in time: hyper's detection of HTTP/1 or HTTP/2 has no
/// timeout of its own.
///
/// It closes without losing its last bytes. The kernel resets a connection that is closed while its peer still sends,
/// and then the peer often cannot read the response. So the stream first closes its own direction, and discards for a
/// moment what still arrives.
///
/// Of HTTP/2, nothing is read that a peer has sent before it closed the connection: these are calls that nobody waits
/// for. They would start when a process continues that was stopped for longer than its callers wait.
pub(super) struct ServerStream<S> {
    stream: S,
    has_left: HasLeft<S>,
    is_http2: bool,
    /// `None` once enough bytes have been received.
    timeout: Option<Pin<Box<Sleep>>>,
    received: usize,
    lingering: Option<Lingering>,
}

/// Whether the peer of a stream has closed the connection. Unread bytes may be left.
pub(super) type HasLeft<S> = fn(&S) -> bool;

/// Asks the kernel whether the peer of a socket has closed the connection.
pub(super) fn has_left(socket: &impl AsFd) -> bool {
    let mut sockets = [PollFd::new(socket, PollFlags::RDHUP)];
    let now = Timespec { tv_sec: 0, tv_nsec: 0 };
    poll(&mut sockets, Some(&now)).is_ok_and(|count| count > 0)
}

struct Lingering {
    silence: Pin<Box<Sleep>>,
    end: Instant,
}

impl<S> ServerStream<S> {
    pub(super) fn new(stream: S, has_left: HasLeft<S>) -> Self {
        let timeout = Some(Box::pin(sleep(HEADER_READ_TIMEOUT)));
        Self { stream, has_left, is_http2: false, timeout, received: 0, lingering: None }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ServerStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(context, buffer);
        if self.received == 0 && buffer.filled()[before..].starts_with(HTTP2) {
            self.is_http2 = true;
        }
        if self.is_http2 && buffer.filled().len() > before && (self.has_left)(&self.stream) {
            // The end of the stream.
            buffer.set_filled(before);
            return read;
        }
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

impl<S: AsyncRead + Unpin> ServerStream<S> {
    /// Discards what the peer sends until it closes its direction, too, or a time limit is reached.
    fn poll_linger(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let lingering = self.lingering.get_or_insert_with(|| Lingering {
            silence: Box::pin(sleep(LINGER_SILENCE)),
            end: Instant::now() + LINGER_TIMEOUT,
        });
        let mut memory = [MaybeUninit::uninit(); 8 << 10];
        loop {
            let mut buffer = ReadBuf::uninit(&mut memory);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return lingering.silence.as_mut().poll(context),
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() && Instant::now() < lingering.end => {
                    let silent_until = (Instant::now() + LINGER_SILENCE).min(lingering.end);
                    lingering.silence.as_mut().reset(silent_until);
                }
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ServerStream<S> {
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
        if self.lingering.is_none() {
            ready!(Pin::new(&mut self.stream).poll_shutdown(context))?;
        }
        self.poll_linger(context).map(Ok)
    }
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
            let mut stream = ServerStream::new(server, |_| false);
            let mut buffer = vec![0; sent.len()];
            stream.read_exact(&mut buffer).await.expect("the sent bytes");
            let error = stream.read_u8().await.expect_err("no more bytes");
            assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{sent:?}");
        }
        let (mut client, server) = tokio::io::duplex(64);
        let mut stream = ServerStream::new(server, |_| false);
        client.write_all(&[b'x'; PREFACE_BYTES]).await.expect("room");
        stream.read_exact(&mut [0; PREFACE_BYTES]).await.expect("enough");
        let silence = tokio::time::timeout(2 * HEADER_READ_TIMEOUT, stream.read_u8()).await;
        assert!(silence.is_err(), "after the preface there is no timeout");
    }

    /// How long a stream takes to close whose peer acts as `peer` does.
    async fn time_to_close<F: Future<Output = ()> + Send + 'static>(
        peer: impl FnOnce(tokio::io::DuplexStream) -> F,
    ) -> Duration {
        let (client, server) = tokio::io::duplex(64);
        let peer = tokio::spawn(peer(client));
        let began = Instant::now();
        ServerStream::new(server, |_| false).shutdown().await.expect("it closes");
        peer.abort();
        began.elapsed()
    }

    #[tokio::test(start_paused = true)]
    async fn a_closing_stream_discards_what_arrives_for_a_moment() {
        let closes = time_to_close(async |client| drop(client)).await;
        assert_eq!(closes, Duration::ZERO);
        let silent = time_to_close(async |_client| std::future::pending().await).await;
        assert_eq!(silent, LINGER_SILENCE);
        let sends_all = time_to_close(async |mut client| {
            client.write_all(&[b'x'; 100_000]).await.expect("room");
        })
        .await;
        assert_eq!(sends_all, Duration::ZERO);
        let drips = time_to_close(async |mut client| {
            while client.write_all(b"x").await.is_ok() {
                sleep(LINGER_SILENCE / 2).await;
            }
        })
        .await;
        assert_eq!(drips, LINGER_TIMEOUT);
    }
}
