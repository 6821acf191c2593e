//! Responses that contain JSON without parsing it.

use axum::response::{IntoResponse as _, Response};
use bytes::{BufMut as _, BytesMut};
use http::HeaderValue;
use http::header::CONTENT_TYPE;

/// A response with `json` between `opening` and `closing`.
pub(super) fn answer(opening: &[u8], json: &[u8], closing: &[u8]) -> Response {
    let mut body = BytesMut::with_capacity(opening.len() + json.len() + closing.len());
    body.put(opening);
    body.put(json);
    body.put(closing);
    ([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body.freeze()).into_response()
}
