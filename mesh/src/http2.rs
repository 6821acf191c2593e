//! HTTP/2, of both sides of a connection.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, Version};

/// Flow-control windows, in bytes.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;

/// Refuses HTTP/1, of which gRPC makes no use: an HTTP client that somebody else directs, such as a function's, must not
/// be able to make calls.
pub(crate) async fn require_http2(request: Request, next: Next) -> Response {
    if request.version() < Version::HTTP_2 {
        let message = "this port is for gRPC, over HTTP/2 only\n";
        return (StatusCode::HTTP_VERSION_NOT_SUPPORTED, message).into_response();
    }
    next.run(request).await
}
