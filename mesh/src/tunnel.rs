//! Tunnels: a connection inside a gRPC call, whose bytes are sent as messages of the call's two streams.
//!
//! A service that cannot be reached opens such a call to its client and [`serve`]s its router on the
//! connection. The client makes a channel from its [`end`] of the connection
//! ([`Dialer::dial_tunnel`](crate::Dialer::dial_tunnel)). The connection carries HTTP/2, like a socket: the
//! server stack, deadlines, cancellation and the secret work in the same way.

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

/// The maximum number of bytes in one message.
pub const CHUNK_BYTES: usize = 32 << 10;
/// The maximum number of bytes that are written and not yet sent; then the writer waits.
pub const BUFFER_BYTES: usize = 64 << 10;

/// How long to wait until the other end has read the last bytes.
const LAST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);

/// The sending half of one end. Dropping it ends the stream for the other end.
#[derive(Debug)]
pub struct Sending(DuplexStream);

/// The sending half of an end, and the chunks that it sends. Chunks are made on demand: a peer that does not
/// read makes the writer wait.
pub fn sending() -> (Sending, impl Stream<Item = Bytes> + Send + 'static) {
    let (near, far) = tokio::io::duplex(BUFFER_BYTES);
    let chunks = ReaderStream::with_capacity(far, CHUNK_BYTES);
    // Reading from memory cannot fail.
    (Sending(near), chunks.filter_map(|chunk| std::future::ready(chunk.ok())))
}

/// One end of the connection: reads from `received` and writes to `sending`. A received status is a read
/// error.
pub fn end(
    received: impl Stream<Item = Result<Bytes, Status>> + Send + 'static,
    sending: Sending,
) -> impl AsyncRead + AsyncWrite + Unpin + Send + 'static {
    // Only the message: the status of the tunnel's call is not the status of calls through the tunnel.
    let broken = |status: Status| io::Error::new(io::ErrorKind::ConnectionReset, status.message().to_owned());
    tokio::io::join(StreamReader::new(received.map_err(broken).boxed()), sending.0)
}

/// Serves `router` at the end that opened the call, as [`serve_one`] does. Then waits until the other end
/// ends the call: dropping `received` would cancel the call, and the last bytes sent would be lost.
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
        tracing::debug!("the other end of a tunnel did not close it in time");
    }
}
