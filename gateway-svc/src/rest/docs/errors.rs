//! Describes errors that many operations share once, as components that the operations reference.

use http::StatusCode;
use mesh::{Error, Reason};
use utoipa::openapi::{OpenApi, Ref, RefOr, Response};

use super::examples::operations;
use crate::rest::error::ApiError;

/// Errors with the same meaning in all operations.
fn shared() -> [(StatusCode, ApiError); 8] {
    let client_error = |reason, message| ApiError::with_message_of(Error::new(reason, message));
    [
        (StatusCode::UNAUTHORIZED, ApiError::unauthorized()),
        (StatusCode::REQUEST_TIMEOUT, ApiError::request_timeout()),
        (StatusCode::PAYLOAD_TOO_LARGE, ApiError::too_large("the body", 8_000_000)),
        (StatusCode::UNSUPPORTED_MEDIA_TYPE, ApiError::unsupported_media_type()),
        (StatusCode::TOO_MANY_REQUESTS, client_error(Reason::Overloaded, "too many requests run at once")),
        (StatusCode::INTERNAL_SERVER_ERROR, client_error(Reason::Internal, "")),
        (StatusCode::SERVICE_UNAVAILABLE, client_error(Reason::NoWorker, "No worker available")),
        (StatusCode::GATEWAY_TIMEOUT, client_error(Reason::DeadlineExceeded, "the deadline has passed")),
    ]
}

/// Replaces the usual response of each shared error with a reference to one component, and adds an example.
/// Operations with a description of their own keep it.
pub(super) fn share(document: &mut OpenApi) {
    for (status, error) in shared() {
        let Some(mut usual) = usual_response(document, status.as_str()) else { continue };
        let name = status.canonical_reason().unwrap_or_default().replace(' ', "");
        for operation in
            document.paths.paths.values_mut().flat_map(operations).map(|(_, operation)| operation)
        {
            if let Some(response) = operation.responses.responses.get_mut(status.as_str())
                && matches!(response, RefOr::T(own) if *own == usual)
            {
                *response = RefOr::Ref(Ref::from_response_name(&name));
            }
        }
        for content in usual.content.values_mut() {
            if let RefOr::T(content) = content {
                content.example = serde_json::to_value(error.body()).ok();
            }
        }
        document.components.get_or_insert_default().responses.insert(name, RefOr::T(usual));
    }
}

/// The response that most operations have for a status.
fn usual_response(document: &mut OpenApi, status: &str) -> Option<Response> {
    let mut found: Vec<(Response, usize)> = Vec::new();
    for (_, operation) in document.paths.paths.values_mut().flat_map(operations) {
        let Some(RefOr::T(response)) = operation.responses.responses.get(status) else { continue };
        match found.iter_mut().find(|(known, _)| known == response) {
            Some((_, count)) => *count += 1,
            None => found.push((response.clone(), 1)),
        }
    }
    found.into_iter().max_by_key(|(_, count)| *count).map(|(response, _)| response)
}
