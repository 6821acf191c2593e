//! The stream below a client's HTTP/2: it notices a peer that is silent, and holds back the requests that it would not
//! read.
//!
//! A process that is stopped, or whose machine is frozen or cut off, keeps its connections, and kernels accept bytes
//! for it. So requests are held here while it is unknown whether the peer reads: from the beginning of a connection
//! until the peer's first bytes, and while a ping has no answer for a moment. hyper sends a ping when there are calls
//! and nothing was received for [`PING_AFTER`]. If nothing at all arrives then, the connection ends with an error. A
//! request that was held until then never left this process.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use bytes::{Buf as _, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep, sleep};

use super::frames::Frames;

/// How long a connection with calls may be silent before the peer has to answer a ping.
pub(super) const PING_AFTER: Duration = Duration::from_millis(500);

/// Silence is counted in ticks at which this process runs: the time for which it is stopped itself, or gets no CPU,
/// is not the peer's silence.
const TICK: Duration = Duration::from_millis(100);
/// A peer that has not answered for so many ticks is lost. With [`PING_AFTER`], that is within 2 s.
const LOST_AFTER: u32 = 13;
/// A peer that has not answered a ping for so many ticks gets no further requests before it answers.
const HOLD_AFTER: u32 = 1;
/// A peer that has been silent for so long, as there were no calls, gets no request before it has answered a ping.
const IDLE: Duration = Duration::from_secs(2);
/// How much is read ahead while requests are held.
const AHEAD_BYTES: usize = 4 << 10;

/// The requests of one channel that have left this process, on all of its connections.
#[derive(Debug, Clone, Default)]
pub(super) struct SentRequests(Arc<AtomicU64>);

impl SentRequests {
    /// How many they are. A request that is made after this was read has not been sent while it stays the same.
    pub(super) fn count(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// The stream of one connection.
#[derive(Debug)]
pub(super) struct ClientStream<S> {
    stream: S,
    sent: SentRequests,
    written: Frames,
    read: Frames,
    /// `Some` while the peer owes an answer.
    silence: Option<Silence>,
    last_heard: Instant,
    /// What was read while requests were held.
    ahead: BytesMut,
    /// The writer that waits until requests are no longer held.
    holding: Option<Waker>,
}

/// The silence of a peer that owes an answer.
#[derive(Debug)]
struct Silence {
    ticks: u32,
    next: Pin<Box<Sleep>>,
    /// The ticks after which requests are held.
    hold_after: u32,
    /// Only the answer to a ping ends it. Otherwise any byte does.
    of_ping: bool,
}

impl Silence {
    fn new(hold_after: u32, of_ping: bool) -> Self {
        Self { ticks: 0, next: Box::pin(sleep(TICK)), hold_after, of_ping }
    }

    /// Fails once the peer is lost.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        while self.next.as_mut().poll(context).is_ready() {
            self.ticks += 1;
            if self.ticks >= LOST_AFTER {
                return Poll::Ready(io::Error::new(io::ErrorKind::TimedOut, "it does not answer"));
            }
            self.next.as_mut().reset(Instant::now() + TICK);
        }
        Poll::Pending
    }
}

impl<S> ClientStream<S> {
    /// A new connection, whose requests count as `sent`.
    pub(super) fn new(stream: S, sent: SentRequests) -> Self {
        Self {
            stream,
            sent,
            written: Frames::of_client(),
            read: Frames::of_server(),
            silence: Some(Silence::new(0, false)),
            last_heard: Instant::now(),
            ahead: BytesMut::new(),
            holding: None,
        }
    }

    fn holds_requests(&self) -> bool {
        self.silence.as_ref().is_some_and(|silence| silence.ticks >= silence.hold_after)
    }

    fn is_idle(&self) -> bool {
        self.last_heard.elapsed() >= IDLE
    }

    /// The peer has sent these bytes.
    fn heard(&mut self, bytes: &[u8]) {
        let pong = self.read.pass(bytes).pong;
        self.last_heard = Instant::now();
        match &mut self.silence {
            // It is there. hyper sends no other ping before this one is answered.
            Some(silence) if silence.of_ping && !pong => {
                (silence.ticks, silence.hold_after) = (0, HOLD_AFTER)
            }
            silence => *silence = None,
        }
        if let Some(writer) = self.holding.take() {
            writer.wake();
        }
    }

    fn poll_silence(&mut self, context: &mut Context<'_>) -> Poll<io::Error> {
        match &mut self.silence {
            Some(silence) => silence.poll(context),
            None => Poll::Pending,
        }
    }

    fn wrote(&mut self, bytes: &[u8], context: &mut Context<'_>) {
        let passed = self.written.pass(bytes);
        if passed.requests > 0 {
            self.sent.0.fetch_add(passed.requests, Ordering::SeqCst);
        }
        if passed.ping && self.silence.is_none() {
            let hold_after = if self.is_idle() { 0 } else { HOLD_AFTER };
            let mut silence = Silence::new(hold_after, true);
            // It has just begun. This lets it wake the connection.
            let _ = silence.poll(context);
            self.silence = Some(silence);
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> ClientStream<S> {
    /// Waits until the peer answers. hyper does not read while it waits for a write, so this reads ahead.
    fn poll_answer(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut bytes = [0; AHEAD_BYTES];
        let mut buffer = ReadBuf::new(&mut bytes);
        match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => {
                Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()))
            }
            Poll::Ready(Ok(())) => {
                self.heard(buffer.filled());
                self.ahead.extend_from_slice(buffer.filled());
                Poll::Ready(Ok(()))
            }
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Pending => {
                self.holding = Some(context.waker().clone());
                self.poll_silence(context).map(Err)
            }
        }
    }

    /// A write waits for the peer to read. Its silence counts meanwhile.
    fn poll_blocked<T>(&mut self, context: &mut Context<'_>) -> Poll<io::Result<T>> {
        if self.silence.is_none() || self.ahead.len() >= AHEAD_BYTES {
            return Poll::Pending;
        }
        match self.poll_answer(context) {
            Poll::Ready(Err(error)) => Poll::Ready(Err(error)),
            Poll::Ready(Ok(())) | Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for ClientStream<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if !self.ahead.is_empty() {
            let count = self.ahead.len().min(buffer.remaining());
            buffer.put_slice(&self.ahead[..count]);
            self.ahead.advance(count);
            return Poll::Ready(Ok(()));
        }
        // What has arrived counts before the time that has passed.
        let before = buffer.filled().len();
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(context, buffer) {
            self.heard(&buffer.filled()[before..]);
            return Poll::Ready(read);
        }
        self.poll_silence(context).map(Err)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for ClientStream<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        mut bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let holds = self.holds_requests();
        if holds || self.is_idle() {
            match self.written.before_request(bytes) {
                0 if holds && !bytes.is_empty() => ready!(self.poll_answer(context))?,
                0 => {}
                // After an idle time, this may be a ping.
                free => bytes = &bytes[..free],
            }
        }
        match Pin::new(&mut self.stream).poll_write(context, bytes) {
            Poll::Ready(written) => {
                let written = written?;
                self.wrote(&bytes[..written], context);
                Poll::Ready(Ok(written))
            }
            Poll::Pending => self.poll_blocked(context),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        if self.holds_requests() || self.is_idle() {
            let first = slices.iter().find(|slice| !slice.is_empty());
            return self.poll_write(context, first.map_or(&[][..], |slice| slice));
        }
        match Pin::new(&mut self.stream).poll_write_vectored(context, slices) {
            Poll::Ready(written) => {
                let written = written?;
                let mut left = written;
                for slice in slices {
                    let count = slice.len().min(left);
                    self.wrote(&slice[..count], context);
                    left -= count;
                }
                Poll::Ready(Ok(written))
            }
            Poll::Pending => self.poll_blocked(context),
        }
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

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream};

    use super::*;

    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    const SETTINGS: &[u8] = &[0, 0, 0, 4, 0, 0, 0, 0, 0];
    const REQUEST: &[u8] = &[0, 0, 1, 1, 5, 0, 0, 0, 1, 0x82];
    const PING: &[u8] = &[0, 0, 8, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];
    const PONG: &[u8] = &[0, 0, 8, 6, 1, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8];

    fn new() -> (ClientStream<DuplexStream>, DuplexStream, SentRequests) {
        let (near, far) = tokio::io::duplex(1 << 16);
        let sent = SentRequests::default();
        (ClientStream::new(near, sent.clone()), far, sent)
    }

    /// A connection whose peer has answered.
    async fn established() -> (ClientStream<DuplexStream>, DuplexStream, SentRequests) {
        let (mut client, mut far, sent) = new();
        client.write_all(PREFACE).await.expect("not held");
        hear(&mut client, &mut far, SETTINGS).await;
        (client, far, sent)
    }

    /// The peer sends these bytes.
    async fn hear(client: &mut ClientStream<DuplexStream>, far: &mut DuplexStream, bytes: &[u8]) {
        far.write_all(bytes).await.expect("room");
        client.read_exact(&mut vec![0; bytes.len()]).await.expect("what was sent");
    }

    /// Whether a request is held.
    async fn holds(client: &mut ClientStream<DuplexStream>) -> bool {
        tokio::time::timeout(Duration::ZERO, client.write_all(REQUEST)).await.is_err()
    }

    /// The time until a read fails, as the peer is silent.
    async fn time_to_loss(client: &mut ClientStream<DuplexStream>) -> Duration {
        let start = Instant::now();
        let error = client.read_u8().await.expect_err("nothing is sent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        // Timers are exact to a millisecond.
        Duration::from_millis(10 * u64::try_from((start.elapsed().as_millis() + 5) / 10).expect("small"))
    }

    #[tokio::test(start_paused = true)]
    async fn requests_wait_for_the_first_bytes_of_the_peer() {
        let (mut client, mut far, sent) = new();
        let opening = [PREFACE, SETTINGS, REQUEST].concat();
        let written = client.write(&opening).await.expect("what comes before the request");
        assert_eq!(written, opening.len() - REQUEST.len());
        assert!(holds(&mut client).await);
        assert_eq!(sent.count(), 0);
        far.write_all(SETTINGS).await.expect("room");
        client.write_all(REQUEST).await.expect("no longer held");
        assert_eq!(sent.count(), 1);
        let mut heard = [0; 9];
        client.read_exact(&mut heard).await.expect("what was read ahead");
        assert_eq!(heard, SETTINGS);
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_never_answers_gets_no_request() {
        let (mut client, _far, sent) = new();
        client.write_all(PREFACE).await.expect("not held");
        let start = Instant::now();
        let error = client.write_all(REQUEST).await.expect_err("the peer is silent");
        assert_eq!(error.kind(), io::ErrorKind::TimedOut, "{error}");
        assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
        assert_eq!(sent.count(), 0);
        let (mut client, far, _) = new();
        drop(far);
        client.write_all(REQUEST).await.expect_err("the peer has closed the connection");
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_owes_an_answer_gets_no_requests_and_is_lost() {
        let (mut client, _far, sent) = established().await;
        client.write_all(PING).await.expect("not held");
        assert!(!holds(&mut client).await, "it may just be busy");
        let early = tokio::time::timeout(TICK * HOLD_AFTER + TICK / 2, client.read_u8()).await;
        assert!(early.is_err(), "nothing is sent, and it is too early to give up");
        assert!(holds(&mut client).await);
        assert_eq!(sent.count(), 1);
        assert_eq!(time_to_loss(&mut client).await, TICK * (LOST_AFTER - HOLD_AFTER) - TICK / 2);
        assert!(PING_AFTER + TICK * LOST_AFTER < Duration::from_secs(2));
    }

    #[tokio::test(start_paused = true)]
    async fn any_bytes_show_that_a_peer_is_there_and_only_its_answer_ends_the_count() {
        let (mut client, mut far, _) = established().await;
        client.write_all(PING).await.expect("not held");
        for _ in 0..3 {
            let silent = tokio::time::timeout(TICK * (LOST_AFTER - 1), client.read_u8()).await;
            assert!(silent.is_err() && holds(&mut client).await);
            hear(&mut client, &mut far, SETTINGS).await;
            assert!(!holds(&mut client).await);
        }
        assert_eq!(time_to_loss(&mut client).await, TICK * LOST_AFTER);

        let (mut client, mut far, _) = established().await;
        client.write_all(PING).await.expect("not held");
        hear(&mut client, &mut far, PONG).await;
        let quiet = tokio::time::timeout(Duration::from_secs(3600), client.read_u8()).await;
        assert!(quiet.is_err() && !holds(&mut client).await, "it owes nothing");
    }

    #[tokio::test(start_paused = true)]
    async fn after_an_idle_time_requests_wait_for_the_answer_to_a_ping() {
        let (mut client, mut far, sent) = established().await;
        tokio::time::advance(IDLE).await;
        let written = client.write(&[PING, REQUEST].concat()).await.expect("not held");
        assert_eq!(written, PING.len());
        assert!(holds(&mut client).await);
        assert_eq!(sent.count(), 0);
        hear(&mut client, &mut far, PONG).await;
        assert!(!holds(&mut client).await);
    }
}
