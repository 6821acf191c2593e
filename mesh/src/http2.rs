//! HTTP/2, of both sides of a connection.

use axum::extract::Request;
use axum::response::{IntoResponse as _, Response};
use http::{StatusCode, Version};

/// Flow-control windows, in bytes.
pub(crate) const STREAM_WINDOW: u32 = 2 << 20;
pub(crate) const CONNECTION_WINDOW: u32 = 16 << 20;

/// Refuses HTTP/1, of which gRPC makes no use: an HTTP client that somebody else directs, such as a function's, must not
/// be able to make calls.
pub(crate) fn refusal_of_http1(request: &Request) -> Option<Response> {
    let message = "this port is for gRPC, over HTTP/2 only\n";
    let refused = request.version() < Version::HTTP_2;
    refused.then(|| (StatusCode::HTTP_VERSION_NOT_SUPPORTED, message).into_response())
}
