//! Extractors: the caller, names in the path, the query and a JSON body.

use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use http::request::Parts;
use http_body_util::BodyExt as _;
use mesh::Caller;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::Rest;
use super::error::ApiError;
use super::json;
use super::stack::Authenticated;

/// The timeout of each read from a body.
const BODY_READ_TIMEOUT: Duration = Duration::from_secs(30);

/// U+FEFF in UTF-8.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";

/// A user with a valid token, administrators included.
pub(super) struct User(pub(super) Caller);

impl FromRequestParts<Rest> for User {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Rest) -> Result<Self, ApiError> {
        let Some(Authenticated(caller)) = parts.extensions.get() else {
            return Err(ApiError::unauthorized());
        };
        Ok(Self(caller.clone()))
    }
}

/// An administrator. Other users get the same error as unknown ones.
pub(super) struct Admin(pub(super) Caller);

impl FromRequestParts<Rest> for Admin {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, ApiError> {
        let User(caller) = User::from_request_parts(parts, rest).await?;
        match caller {
            Caller::Admin(_) => Ok(Self(caller)),
            Caller::Subject(_) | Caller::Service => Err(ApiError::unauthorized()),
        }
    }
}

/// Names in the path. Invalid UTF-8 is treated as not found.
pub(super) struct Names<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Rest> for Names<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, ApiError> {
        match Path::from_request_parts(parts, rest).await {
            Ok(Path(names)) => Ok(Self(names)),
            Err(_) => Err(ApiError::not_found("the path is not valid UTF-8")),
        }
    }
}

/// The query parameters. The error names a parameter that is unknown or malformed.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Rest> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, ApiError> {
        match axum::extract::Query::from_request_parts(parts, rest).await {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(rejection) => Err(ApiError::bad_request_because(&root_cause(&rejection))),
        }
    }
}

/// The message of the innermost error. The outer ones only add context.
fn root_cause(error: &dyn std::error::Error) -> String {
    std::iter::successors(Some(error), |error| error.source()).last().unwrap_or(error).to_string()
}

/// A body that should be a JSON object. It is kept unparsed.
pub(super) struct JsonBody(Bytes);

impl FromRequest<Rest> for JsonBody {
    type Rejection = ApiError;

    async fn from_request(request: Request, rest: &Rest) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::unsupported_media_type());
        }
        if is_encoded(request.headers()) {
            return Err(ApiError::unsupported_encoding());
        }
        let body = read_body(request.into_body(), rest.max_args_bytes).await?;
        Ok(Self(without_byte_order_mark(body)))
    }
}

impl JsonBody {
    /// The named members of the object; an empty body has none, as in published FunLess.
    pub(super) fn members<const N: usize>(
        &self,
        names: [&str; N],
    ) -> Result<[Option<&RawValue>; N], ApiError> {
        let body = if self.0.is_empty() { &b"{}"[..] } else { &self.0 };
        let text = std::str::from_utf8(body).map_err(|error| {
            let at = error.valid_up_to();
            ApiError::bad_request(format!("the body is not valid UTF-8: byte {at} is not a character"))
        })?;
        json::members(text, names).map_err(|error| ApiError::bad_request(json::problem(&error)))
    }

    /// Parses the whole object. The error names a member that is unknown or malformed.
    pub(super) fn read<T: DeserializeOwned>(&self) -> Result<T, ApiError> {
        if self.0.is_empty() {
            return Err(ApiError::bad_request_because("expected a JSON object, not an empty body"));
        }
        serde_json::from_slice(&self.0).map_err(|error| ApiError::bad_request_because(&json::problem(&error)))
    }

    /// The bytes of a member, shared with the body.
    pub(super) fn bytes_of(&self, member: &RawValue) -> Bytes {
        self.0.slice_ref(member.get().as_bytes())
    }
}

/// Whether the content type is JSON. A missing one counts as JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let Some(value) = headers.get(CONTENT_TYPE) else { return true };
    let media_type = value.to_str().unwrap_or_default().split(';').next().unwrap_or_default();
    let media_type = media_type.trim().to_ascii_lowercase();
    media_type == "application/json" || (media_type.contains('/') && media_type.ends_with("+json"))
}

/// Whether the body is compressed or otherwise encoded, which is not supported.
fn is_encoded(headers: &HeaderMap) -> bool {
    headers.get_all(CONTENT_ENCODING).iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Removes a byte-order mark, with which some editors and shells start UTF-8 text.
fn without_byte_order_mark(body: Bytes) -> Bytes {
    match body.strip_prefix(BYTE_ORDER_MARK) {
        Some(text) => body.slice_ref(text),
        None => body,
    }
}

async fn read_body(mut body: axum::body::Body, limit: usize) -> Result<Bytes, ApiError> {
    let too_large = || ApiError::too_large("the body", u64::try_from(limit).unwrap_or(u64::MAX));
    let mut pieces = Vec::new();
    let mut size = 0;
    while let Some(frame) = in_time(body.frame()).await? {
        // The client has aborted the request, so it does not read the response.
        let frame = frame.map_err(|_| ApiError::bad_request("the body broke off"))?;
        let Ok(piece) = frame.into_data() else { continue };
        size += piece.len();
        if size > limit {
            return Err(too_large());
        }
        pieces.push(piece);
    }
    if pieces.len() == 1 {
        return Ok(pieces.remove(0));
    }
    let mut whole = BytesMut::with_capacity(size);
    for piece in pieces {
        whole.extend_from_slice(&piece);
    }
    Ok(whole.freeze())
}

/// Waits for data from the client, up to a timeout.
pub(super) async fn in_time<F: Future>(next: F) -> Result<F::Output, ApiError> {
    tokio::time::timeout(BODY_READ_TIMEOUT, next).await.map_err(|_| ApiError::request_timeout())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_byte_order_mark_is_skipped() {
        for (body, expected) in [("\u{feff}{}", "{}"), ("{}", "{}"), ("\u{feff}", ""), ("", "")] {
            assert_eq!(without_byte_order_mark(Bytes::from_static(body.as_bytes())), expected, "{body:?}");
        }
    }

    #[test]
    fn encoded_bodies_are_detected() {
        for (value, expected) in
            [(None, false), (Some("identity"), false), (Some("gzip"), true), (Some("br"), true)]
        {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CONTENT_ENCODING, value.parse().expect("a header"));
            }
            assert_eq!(is_encoded(&headers), expected, "{value:?}");
        }
    }

    #[test]
    fn several_content_types_are_json() {
        let cases = [
            (None, true),
            (Some("application/json"), true),
            (Some("Application/JSON; charset=utf-8"), true),
            (Some("application/problem+json"), true),
            (Some("text/plain"), false),
            (Some("application/x-www-form-urlencoded"), false),
            (Some("+json"), false),
            (Some(""), false),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            if let Some(value) = value {
                headers.insert(CONTENT_TYPE, value.parse().expect("a header"));
            }
            assert_eq!(is_json(&headers), expected, "{value:?}");
        }
    }
}
