//! Reads the rest of a body after a request was refused early.
//!
//! A client that is still sending when its connection is closed often loses the response. So an early
//! response to a user waits until the rest of the body has been received and discarded, within limits. Other requests
//! are refused before their body is read (`stack`).

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::middleware::Next;
use axum::response::Response;
use bytes::Bytes;
use http::StatusCode;
use http::header::EXPECT;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;
use parking_lot::Mutex;

/// Discarding costs little; usually the timeout ends it.
const MAX_BYTES: usize = 256 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);

/// The middleware that discards the rest of a body.
pub(super) async fn linger(request: Request, next: Next) -> Response {
    // A client with `Expect` waits for a response before it sends the body.
    if request.headers().contains_key(EXPECT) {
        return next.run(request).await;
    }
    let mut rest = None;
    let request = request.map(|body| {
        let shared = Shared(Arc::new(Mutex::new(body)));
        rest = Some(shared.clone());
        Body::new(shared)
    });
    let response = next.run(request).await;
    if let Some(rest) = rest
        && response.status().is_client_error()
        && response.status() != StatusCode::REQUEST_TIMEOUT
    {
        let _ = tokio::time::timeout(TIMEOUT, discard(rest)).await;
    }
    response
}

async fn discard(mut body: Shared) {
    let mut left = MAX_BYTES;
    while let Some(Ok(frame)) = body.frame().await {
        let size = frame.data_ref().map_or(0, Bytes::len);
        let Some(still_left) = left.checked_sub(size) else { return };
        left = still_left;
    }
}

/// A body that the handler reads first, and the middleware after it.
#[derive(Clone)]
struct Shared(Arc<Mutex<Body>>);

impl http_body::Body for Shared {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut *self.0.lock()).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.0.lock().is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.0.lock().size_hint()
    }
}
