//! Errors of requests: the only mapping of reasons to HTTP statuses and bodies.

use std::collections::BTreeMap;
use std::time::Duration;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::header::{RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderValue, StatusCode};
use mesh::{Error, Reason, reason_name};
use serde::Serialize;
use tonic::Status;
use utoipa::openapi::{Content, Ref, RefOr, Response as ResponseSpec, ResponseBuilder};
use utoipa::{IntoResponses, ToSchema};

use crate::clients::for_clients;

/// The scheduler's message when there is no worker; details follow after a colon.
const NO_WORKER: &str = "No worker available";

/// The default `Retry-After`.
const DEFAULT_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A refused or failed request.
#[derive(Debug)]
pub(super) struct ApiError {
    status: StatusCode,
    body: Failure,
    retry_after: Option<Duration>,
}

/// The body of every error.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Failure {
    /// The detail again, only where older clients expect it.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    errors: Errors,
}

/// The problem: one detail, or messages by field.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Errors {
    Detail(Detail),
    Fields(BTreeMap<String, Vec<String>>),
}

/// The problem of a request as a whole.
#[derive(Debug, Default, Serialize, ToSchema)]
struct Detail {
    /// The text that clients of published FunLess know, such as `Not Found`.
    detail: String,
    /// The problem, where it is, and what was expected, such as `no function "f" in module "_"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    message: Option<String>,
    /// The reason for programs, from `funless/error/v1/reason.proto`, such as `FUNCTION_NOT_FOUND`. Absent if
    /// none applies, such as for an unknown path.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    reason: Option<&'static str>,
}

impl ApiError {
    pub(super) fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        let errors = Errors::Detail(Detail { detail: detail.into(), ..Detail::default() });
        Self { status, body: Failure { error: None, errors }, retry_after: None }
    }

    /// An error whose detail is the status' name and `message`, and whose message is `message`.
    fn because(status: StatusCode, message: &str) -> Self {
        let title = status.canonical_reason().unwrap_or_default();
        Self::new(status, format!("{title}: {message}")).message(message)
    }

    /// The body of the response.
    pub(super) fn body(&self) -> &Failure {
        &self.body
    }

    /// Sets the message.
    pub(super) fn message(mut self, message: impl Into<String>) -> Self {
        if let Errors::Detail(detail) = &mut self.body.errors {
            detail.message = Some(message.into()).filter(|message| !message.is_empty());
        }
        self
    }

    /// Sets the reason.
    fn reason(mut self, reason: Reason) -> Self {
        if let Errors::Detail(detail) = &mut self.body.errors {
            detail.reason = Some(reason_name(reason));
        }
        self
    }

    /// Refused fields, each with its message.
    pub(super) fn fields(fields: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut messages = BTreeMap::<_, Vec<_>>::new();
        for (field, message) in fields {
            messages.entry(field).or_default().push(message);
        }
        let body = Failure { error: None, errors: Errors::Fields(messages) };
        Self { status: StatusCode::UNPROCESSABLE_ENTITY, body, retry_after: None }
    }

    pub(super) fn field(field: &str, message: &str) -> Self {
        Self::fields([(field.to_owned(), message.to_owned())])
    }

    /// A bad request where clients of published FunLess expect the detail `Bad Request`.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad Request").reason(Reason::BadRequest).message(message)
    }

    /// A bad request where clients expect no particular detail.
    pub(super) fn bad_request_because(why: &str) -> Self {
        Self::because(StatusCode::BAD_REQUEST, why).reason(Reason::BadRequest)
    }

    pub(super) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized")
            .reason(Reason::Unauthenticated)
            .message("expected `Authorization: Bearer TOKEN` with a valid token for this path")
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "Not Found").message(message)
    }

    pub(super) fn method_not_allowed() -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method Not Allowed")
            .message("this path does not take this method; /docs lists what it takes")
    }

    pub(super) fn request_timeout() -> Self {
        Self::because(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")
    }

    pub(super) fn unsupported_media_type() -> Self {
        Self::because(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected application/json")
    }

    pub(super) fn unsupported_encoding() -> Self {
        Self::because(StatusCode::UNSUPPORTED_MEDIA_TYPE, "expected a body without Content-Encoding")
    }

    /// `what` has more than `limit` bytes.
    pub(super) fn too_large(what: &str, limit: u64) -> Self {
        let why = format!("{what} may have at most {limit} bytes");
        Self::because(StatusCode::PAYLOAD_TOO_LARGE, &why).reason(Reason::TooLarge)
    }

    /// An upload is too large as a whole.
    pub(super) fn upload_too_large() -> Self {
        Self::because(StatusCode::PAYLOAD_TOO_LARGE, "the upload as a whole").reason(Reason::TooLarge)
    }

    /// The function's own error message.
    pub(super) fn function_error(message: &str) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, format!("Error: {message}"))
    }

    /// Adds what was `done` before the failure, and removes `Retry-After`: a retry would not be the same
    /// request.
    pub(super) fn with_committed_part(mut self, done: &str) -> Self {
        if let Errors::Detail(Detail { detail, message, .. }) = &mut self.body.errors {
            *detail = format!("{detail}; before that, {done}");
            *message = message.take().map(|message| format!("{message}; before that, {done}"));
        }
        Self { retry_after: None, ..self }
    }

    /// Older clients expect errors about the module `_` in the member `error`.
    fn default_module(detail: String) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, detail.clone());
        error.body.error = Some(detail);
        error
    }

    /// A fault of the platform; details are in the log only.
    pub(super) fn internal(context: impl std::fmt::Display) -> Self {
        Error::internal(context).into()
    }
}

impl From<Error> for ApiError {
    fn from(error: Error) -> Self {
        Self::with_message_of(for_clients(error))
    }
}

impl ApiError {
    /// Converts an error without hiding its message from the client.
    pub(super) fn with_message_of(error: Error) -> Self {
        // A request that may have been executed must not be retried automatically.
        let may_be_retried = error.not_started();
        let Error { reason, message, fields, retry_after } = error;
        let words = match reason {
            Reason::Internal | Reason::Unspecified | Reason::Unimplemented => String::new(),
            _ => message.clone(),
        };
        let mut api = Self::published(reason, message, fields).reason(reason).message(words);
        api.retry_after = may_be_retried.then(|| retry_after.unwrap_or(DEFAULT_RETRY_AFTER));
        api
    }

    /// The status and the detail of a reason, as clients of published FunLess expect them.
    fn published(reason: Reason, message: String, fields: Vec<(String, String)>) -> Self {
        match reason {
            Reason::BadRequest => Self::bad_request_because(&message),
            Reason::InvalidField if fields.is_empty() => Self::new(StatusCode::UNPROCESSABLE_ENTITY, message),
            Reason::InvalidField => Self::fields(fields.into_iter().map(rest_field)),
            Reason::TooLarge => Self::new(StatusCode::PAYLOAD_TOO_LARGE, message),
            Reason::Unauthenticated => Self::unauthorized(),
            Reason::PermissionDenied => Self::new(StatusCode::FORBIDDEN, "Forbidden"),
            Reason::ModuleNotFound
            | Reason::FunctionNotFound
            | Reason::SubjectNotFound
            | Reason::DeadLetterNotFound => Self::new(StatusCode::NOT_FOUND, "Not Found"),
            Reason::ScriptNotFound | Reason::DecisionNotFound => {
                Self::because(StatusCode::NOT_FOUND, &message)
            }
            Reason::FunctionExists => Self::new(StatusCode::CONFLICT, "Conflict"),
            Reason::ScriptInUse => Self::because(StatusCode::CONFLICT, &message),
            Reason::DefaultModule => Self::default_module(message),
            Reason::NoWorker | Reason::NoValidWorkers | Reason::NoMatchingTag => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, no_worker(&message))
            }
            Reason::WorkerLost
            | Reason::ConnectionLost
            | Reason::Unavailable
            | Reason::RevisionNotReached
            | Reason::ResultNotTaken => Self::because(StatusCode::SERVICE_UNAVAILABLE, &message),
            Reason::Overloaded => Self::because(StatusCode::TOO_MANY_REQUESTS, &message),
            Reason::DeadlineExceeded => Self::because(StatusCode::GATEWAY_TIMEOUT, &message),
            Reason::GuestTrapped
            | Reason::GuestExited
            | Reason::GuestBadResponse
            | Reason::GuestMemoryLimit
            | Reason::GuestOutputLimit
            | Reason::GuestStackLimit
            | Reason::CodeUnusable
            | Reason::ScriptUnusable
            | Reason::CodeNotFound => went_wrong(&format!("Something went wrong: {message}")),
            // From a service with another version than this gateway.
            Reason::Internal | Reason::Unspecified | Reason::Unimplemented => {
                went_wrong("Something went wrong")
            }
        }
    }
}

impl From<Status> for ApiError {
    fn from(status: Status) -> Self {
        Error::from(status).into()
    }
}

fn went_wrong(detail: &str) -> ApiError {
    ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, detail)
}

fn no_worker(message: &str) -> String {
    let reason = message.strip_prefix(NO_WORKER).unwrap_or(message);
    match reason.trim_start_matches(':').trim() {
        "" => NO_WORKER.to_owned(),
        reason => format!("{NO_WORKER}: {reason}"),
    }
}

/// Renames a refused field to its name in the REST API.
fn rest_field((field, message): (String, String)) -> (String, String) {
    let field = match field.as_str() {
        "new_name" => "name".to_owned(),
        "content" => "file".to_owned(),
        _ => field,
    };
    (field, message)
}

/// The errors of every route that requires a token, for the documentation.
pub(super) struct CommonErrors;

impl IntoResponses for CommonErrors {
    fn responses() -> BTreeMap<String, RefOr<ResponseSpec>> {
        let usual = [
            ("401", "The token is missing, malformed, unknown or expired, or not valid for this route."),
            (
                "429",
                "Too many concurrent requests, or too many unknown tokens from this address. `Retry-After` is the \
                    time to wait before a retry.",
            ),
            ("500", "A fault of the platform."),
            ("503", "A part of the platform is unavailable. With `Retry-After`: nothing was done."),
            ("504", "The deadline passed before there was a result."),
        ];
        let failure = Content::new(Some(Ref::from_schema_name("Failure")));
        let response = |description| {
            let builder = ResponseBuilder::new().description(description);
            RefOr::T(builder.content("application/json", failure.clone()).build())
        };
        usual.map(|(status, description)| (status.to_owned(), response(description))).into()
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(self.body)).into_response();
        let headers = response.headers_mut();
        if let Some(retry_after) = self.retry_after {
            let seconds = retry_after.as_millis().div_ceil(1000).max(1);
            headers.insert(RETRY_AFTER, HeaderValue::from(u64::try_from(seconds).unwrap_or(u64::MAX)));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    /// The status and the body of `error`.
    fn rendered(error: Error) -> (u16, Value) {
        let error = ApiError::from(error);
        (error.status.as_u16(), serde_json::to_value(&error.body).expect("serializable"))
    }

    #[test]
    fn each_reason_has_its_status_and_body() {
        let cases = [
            (Reason::Unspecified, 500, "Something went wrong"),
            (Reason::BadRequest, 400, "Bad Request: why"),
            (Reason::InvalidField, 422, "why"),
            (Reason::TooLarge, 413, "why"),
            (Reason::Unauthenticated, 401, "Unauthorized"),
            (Reason::PermissionDenied, 403, "Forbidden"),
            (Reason::ModuleNotFound, 404, "Not Found"),
            (Reason::FunctionNotFound, 404, "Not Found"),
            (Reason::ScriptNotFound, 404, "Not Found: why"),
            (Reason::SubjectNotFound, 404, "Not Found"),
            (Reason::DeadLetterNotFound, 404, "Not Found"),
            (Reason::CodeNotFound, 500, "Something went wrong: why"),
            (Reason::FunctionExists, 409, "Conflict"),
            (Reason::ScriptInUse, 409, "Conflict: why"),
            (Reason::RevisionNotReached, 503, "Service Unavailable: why"),
            (Reason::NoWorker, 503, "No worker available: why"),
            (Reason::NoValidWorkers, 503, "No worker available: why"),
            (Reason::NoMatchingTag, 503, "No worker available: why"),
            (Reason::DecisionNotFound, 404, "Not Found: why"),
            (Reason::ScriptUnusable, 500, "Something went wrong: why"),
            (Reason::WorkerLost, 503, "Service Unavailable: why"),
            (Reason::Overloaded, 429, "Too Many Requests: why"),
            (Reason::Unavailable, 503, "Service Unavailable: a part of the platform cannot be reached"),
            (Reason::DeadlineExceeded, 504, "Gateway Timeout: why"),
            (
                Reason::ConnectionLost,
                503,
                "Service Unavailable: a connection was lost while the request may have been in work",
            ),
            (
                Reason::ResultNotTaken,
                503,
                "Service Unavailable: the function ran, but its sinks did not take the result, which is lost; \
                    another request runs it again",
            ),
            (Reason::GuestTrapped, 500, "Something went wrong: why"),
            (Reason::GuestExited, 500, "Something went wrong: why"),
            (Reason::GuestBadResponse, 500, "Something went wrong: why"),
            (Reason::GuestMemoryLimit, 500, "Something went wrong: why"),
            (Reason::GuestOutputLimit, 500, "Something went wrong: why"),
            (Reason::GuestStackLimit, 500, "Something went wrong: why"),
            (Reason::CodeUnusable, 500, "Something went wrong: why"),
            (Reason::Internal, 500, "Something went wrong"),
            (Reason::Unimplemented, 500, "Something went wrong"),
        ];
        for (reason, status, detail) in cases {
            let mut errors = json!({"detail": detail, "reason": reason_name(reason)});
            match reason {
                // Details of a fault of the platform are in its log only.
                Reason::Internal | Reason::Unspecified | Reason::Unimplemented => {}
                // Addresses of services are not returned to clients either.
                Reason::Unavailable | Reason::ConnectionLost | Reason::ResultNotTaken => {
                    errors["message"] = json!(detail.trim_start_matches("Service Unavailable: "));
                }
                _ => errors["message"] = json!("why"),
            }
            let expected = (status, json!({"errors": errors}));
            assert_eq!(rendered(Error::new(reason, "why")), expected, "{reason:?}");
        }
    }

    #[test]
    fn detail_and_message_include_what_was_done_before() {
        let error = ApiError::from(Error::new(Reason::Overloaded, "full")).with_committed_part("2 were sent");
        let expected = json!({"errors": {
            "detail": "Too Many Requests: full; before that, 2 were sent",
            "message": "full; before that, 2 were sent",
            "reason": "OVERLOADED",
        }});
        assert_eq!(serde_json::to_value(&error.body).expect("serializable"), expected);
        assert_eq!(error.retry_after, None);
    }

    #[test]
    fn refused_fields_are_lists_of_messages() {
        let fields = [("name", "is invalid"), ("new_name", "can't be blank"), ("code", "no wasm")];
        let error = Error::fields(fields.map(|(field, message)| (field.into(), message.into())));
        let expected = json!({"errors": {"name": ["is invalid", "can't be blank"], "code": ["no wasm"]}});
        assert_eq!(rendered(error), (422, expected));
    }

    #[test]
    fn errors_about_the_default_module_have_two_details() {
        let detail = "Cannot delete default module";
        let errors = json!({"detail": detail, "message": detail, "reason": "DEFAULT_MODULE"});
        let expected = json!({"error": detail, "errors": errors});
        assert_eq!(rendered(Error::new(Reason::DefaultModule, detail)), (400, expected));
    }

    #[test]
    fn no_worker_errors_keep_their_details() {
        let cases = [
            ("", "No worker available"),
            ("No worker available", "No worker available"),
            ("No worker available: tag edge", "No worker available: tag edge"),
            ("none has 1 GiB", "No worker available: none has 1 GiB"),
        ];
        for (message, expected) in cases {
            assert_eq!(no_worker(message), expected);
        }
    }

    #[test]
    fn only_calls_that_have_not_started_have_retry_after() {
        let retry_after = |error: Error| {
            let response = ApiError::from(error).into_response();
            response.headers().get(RETRY_AFTER).map(|value| value.to_str().expect("digits").to_owned())
        };
        let overloaded = |millis| Error::overloaded("full", Duration::from_millis(millis));
        assert_eq!(retry_after(overloaded(1)).as_deref(), Some("1"));
        assert_eq!(retry_after(overloaded(1001)).as_deref(), Some("2"));
        for reason in [Reason::Overloaded, Reason::Unavailable, Reason::NoWorker] {
            assert_eq!(retry_after(Error::new(reason, "")).as_deref(), Some("1"), "{reason:?}");
        }
        // A request that may have been executed must not be retried automatically.
        for reason in [Reason::ConnectionLost, Reason::WorkerLost, Reason::ResultNotTaken, Reason::Internal] {
            let error = Error { retry_after: Some(Duration::from_secs(7)), ..Error::new(reason, "") };
            assert_eq!(retry_after(error), None, "{reason:?}");
        }
    }
}
