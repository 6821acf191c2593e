//! A connection inside a call: its bytes are the messages of the call's two streams.
//!
//! Who cannot be reached opens such a call to who would reach him, and serves his router on the
//! connection ([`listener::serve_one`](crate::listener::serve_one)); the other end makes a channel of it
//! ([`Dialer::dial_tunnel`](crate::Dialer::dial_tunnel)). What travels through it is HTTP/2, as through a
//! socket: the server stack, deadlines, cancellation and the secret are the same on that way.

use std::io;

use bytes::Bytes;
use futures::{Stream, StreamExt as _, TryStreamExt as _};
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio_util::io::{ReaderStream, StreamReader};
use tonic::Status;

/// The most bytes in one message.
pub const CHUNK_BYTES: usize = 32 << 10;
/// The most bytes that are written and not sent yet; then the writer waits.
pub const BUFFER_BYTES: usize = 64 << 10;

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
