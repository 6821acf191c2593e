//! A connection inside a call: its bytes are the messages of the call's two streams.
//!
//! Who cannot be reached opens such a call to who would reach him, and [`serve`]s his router on the
//! connection; the other one makes a channel of his [`end`] of it
//! ([`Dialer::dial_tunnel`](crate::Dialer::dial_tunnel)). What travels through it is HTTP/2, as through a
//! socket: the server stack, deadlines, cancellation and the secret are the same on that way.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _, stream};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio_util::io::{ReaderStream, StreamReader};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::listener::serve_one;

/// The most bytes in one message.
pub const CHUNK_BYTES: usize = 32 << 10;
/// The most bytes that are written and not sent yet; then the writer waits.
pub const BUFFER_BYTES: usize = 64 << 10;

/// How long the other end may take to read the last bytes.
const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);

/// What one end writes to. The other end reads the end of the stream once it is dropped.
#[derive(Debug)]
pub struct Sending(DuplexStream);

/// The sending half of an end, and the chunks that it sends. Chunks are made as they are asked for: a peer
/// that takes none makes the writer wait.
pub fn sending() -> (Sending, impl Stream<Item = Bytes> + Send + 'static) {
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let chunks = ReaderStream::with_capacity(far, CHUNK_BYTES);
    // Reading from memory does not fail.
    (Sending(near), chunks.filter_map(|chunk| std::future::ready(chunk.ok())))
}

/// One end of the connection: reads what is `received`, and writes to `sending`. A status that is
/// received is an error of reading.
pub fn end(
    received: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    sending: Sending,
) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static {
    // Only the words: what broke the call says nothing about what was sent through it.
    let broken = |status: Status| io::Error::new(io::ErrorKind::ConnectionReset, status.message().to_owned());
    tokio::io::join(StreamReader::new(received.map_err(broken).boxed()), sending.0)
}

/// Serves `router` at the end from which the call was opened, as [`serve_one`] does. Then waits until the other
/// end has ended the call: it would be cancelled together with what was `received`, and the last bytes
/// that were sent would be lost.
pub async fn serve(
    received: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    sending: Sending,
    router: axum::Router,
    draining: CancellationToken,
    drain_timeout: Duration,
) {
    let received = Arc::new(Mutex::new(received.boxed()));
    let lent = Arc::clone(&received);
    let lent = stream::poll_fn(move |context| lent.lock().poll_next_unpin(context));
    serve_one(end(lent, sending), router, draining, drain_timeout).await;
    let mut rest = stream::poll_fn(move |context| received.lock().poll_next_unpin(context));
    let ended = async { while let Some(Ok(_)) = rest.next().await {} };
    if tokio::time::timeout(LAST_BYTES_TIMEOUT, ended).await.is_err() {
        tracing::debug!("the other end of a tunnel did not end it in time");
    }
}
