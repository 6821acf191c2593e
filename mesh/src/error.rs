//! Errors of calls: a closed set of reasons and their mapping to gRPC.
//!
//! The reasons are published in `funless/error/v1/reason.proto`. A handler that fails returns an [`Error`].
//! On the wire it is a `tonic::Status` with `google.rpc.ErrorInfo` (and `BadRequest` and `RetryInfo` where
//! they apply) in its details. The client converts it back to an [`Error`].

use std::time::Duration;

pub use proto::error::v1::Reason;
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt as _};

/// The domain of the reasons in `google.rpc.ErrorInfo`.
pub const DOMAIN: &str = "funless.dev";

/// Statuses are sent in HTTP/2 headers, of which clients accept 16 KiB. Each text occurs twice: escaped in
/// the message, and encoded in the details.
const MAX_MESSAGE_BYTES: usize = 1200;
const MAX_FIELDS: usize = 8;
const MAX_FIELD_BYTES: usize = 300;

/// A failed call: a reason for programs and a message for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct Error {
    /// The reason, for programs.
    pub reason: Reason,
    /// The message, for people. Contains nothing internal.
    pub message: String,
    /// The refused fields of a [`Reason::InvalidField`], each with its message.
    pub fields: Vec<(String, String)>,
    /// How long to wait before a retry, if the caller may retry.
    pub retry_after: Option<Duration>,
}

impl Error {
    /// An error with this reason.
    pub fn new(reason: Reason, message: impl Into<String>) -> Self {
        let message = cut(message.into(), MAX_MESSAGE_BYTES);
        Self { reason, message, fields: Vec::new(), retry_after: None }
    }

    /// An error about one refused field.
    pub fn field(field: impl Into<String>, message: impl Into<String>) -> Self {
        Self::fields([(field.into(), message.into())])
    }

    /// An error about refused fields, at least one. A field may have several messages.
    pub fn fields(fields: impl IntoIterator<Item = (String, String)>) -> Self {
        let short = |(field, message)| (cut(field, MAX_FIELD_BYTES), cut(message, MAX_FIELD_BYTES));
        let fields: Vec<_> = fields.into_iter().take(MAX_FIELDS).map(short).collect();
        let words: Vec<_> = fields.iter().map(|(field, message)| format!("{field} {message}")).collect();
        Self { fields, ..Self::new(Reason::InvalidField, words.join("; ")) }
    }

    /// A fault of the platform. `context` is logged for the operator and not sent to the caller.
    pub fn internal(context: impl std::fmt::Display) -> Self {
        tracing::error!(%context, "internal error");
        Self::new(Reason::Internal, "internal error")
    }

    /// A limit is reached; the caller may retry after `retry_after`.
    pub fn overloaded(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Reason::Overloaded, message) }
    }

    /// A dependency cannot be reached.
    pub fn unavailable(message: impl Into<String>) -> Self {
        Self::new(Reason::Unavailable, message)
    }

    /// The error for a request that cannot be read. [`Error::from`] would take the client's mistake for a
    /// fault of the platform.
    pub fn of_request(status: &Status) -> Self {
        without_reason(status).unwrap_or_else(|| status.into())
    }

    /// Whether the call is known not to have started, so that a retry is safe.
    pub fn not_started(&self) -> bool {
        matches!(
            self.reason,
            Reason::Overloaded
                | Reason::Unavailable
                | Reason::NoWorker
                | Reason::NoValidWorkers
                | Reason::NoMatchingTag
                | Reason::RevisionNotReached
        )
    }
}

/// Truncates `text` to at most `bytes` bytes, at a character boundary.
fn cut(mut text: String, bytes: usize) -> String {
    if text.len() > bytes {
        text.truncate(text.floor_char_boundary(bytes));
        text.push('…');
    }
    text
}

/// The name of a reason outside protobuf: `FUNCTION_NOT_FOUND` for `REASON_FUNCTION_NOT_FOUND`.
pub fn reason_name(reason: Reason) -> &'static str {
    let name = reason.as_str_name();
    name.strip_prefix("REASON_").unwrap_or(name)
}

/// The gRPC code of a reason. This is the only mapping.
pub fn code(reason: Reason) -> Code {
    match reason {
        Reason::Unspecified => Code::Unknown,
        Reason::BadRequest | Reason::InvalidField => Code::InvalidArgument,
        Reason::TooLarge | Reason::Overloaded => Code::ResourceExhausted,
        Reason::Unimplemented => Code::Unimplemented,
        Reason::Unauthenticated => Code::Unauthenticated,
        Reason::PermissionDenied => Code::PermissionDenied,
        Reason::ModuleNotFound
        | Reason::FunctionNotFound
        | Reason::ScriptNotFound
        | Reason::SubjectNotFound
        | Reason::CodeNotFound
        | Reason::DeadLetterNotFound
        | Reason::DecisionNotFound => Code::NotFound,
        Reason::FunctionExists => Code::AlreadyExists,
        Reason::DefaultModule | Reason::ScriptInUse | Reason::CodeUnusable | Reason::ScriptUnusable => {
            Code::FailedPrecondition
        }
        Reason::NoWorker
        | Reason::NoValidWorkers
        | Reason::NoMatchingTag
        | Reason::WorkerLost
        | Reason::Unavailable
        | Reason::RevisionNotReached
        | Reason::ConnectionLost
        | Reason::ResultNotTaken => Code::Unavailable,
        Reason::DeadlineExceeded => Code::DeadlineExceeded,
        Reason::GuestTrapped
        | Reason::GuestExited
        | Reason::GuestBadResponse
        | Reason::GuestMemoryLimit
        | Reason::GuestOutputLimit
        | Reason::GuestStackLimit => Code::Aborted,
        Reason::Internal => Code::Internal,
    }
}

impl From<Error> for Status {
    fn from(error: Error) -> Self {
        let mut details = ErrorDetails::new();
        details.set_error_info(reason_name(error.reason), DOMAIN, std::collections::HashMap::new());
        for (field, message) in &error.fields {
            details.add_bad_request_violation(field, message);
        }
        if let Some(retry_after) = error.retry_after {
            details.set_retry_info(Some(retry_after));
        }
        Self::with_error_details(code(error.reason), error.message, details)
    }
}

impl From<&Status> for Error {
    fn from(status: &Status) -> Self {
        let details = status.get_error_details();
        let reason = details
            .error_info()
            .filter(|info| info.domain == DOMAIN)
            .and_then(|info| Reason::from_str_name(&format!("REASON_{}", info.reason)))
            .unwrap_or_else(|| reason_of_foreign(status.code()));
        let fields = details.bad_request().map_or_else(Vec::new, |bad| {
            let violations = bad.field_violations.iter();
            violations.map(|v| (v.field.clone(), v.description.clone())).collect()
        });
        let retry_after = details.retry_info().and_then(|info| info.retry_delay);
        Self { fields, retry_after, ..Self::new(reason, status.message()) }
    }
}

impl From<Status> for Error {
    fn from(status: Status) -> Self {
        Self::from(&status)
    }
}

/// The prefixes of tonic's INTERNAL messages about requests that cannot be decoded. For the mesh's own
/// services, `proto::Codec` returns better errors.
const UNREADABLE: [&str; 4] = [
    "failed to decode Protobuf message",
    "protocol error: received message with",
    "Unexpected EOF decoding stream",
    "Missing request message",
];

/// The error for a server's status that has no reason, as for tonic's own statuses, such as that of a message
/// that is too large. `None` if the status has a reason.
pub(crate) fn without_reason(status: &Status) -> Option<Error> {
    if status.get_error_details().error_info().is_some() {
        return None;
    }
    let reason = match status.code() {
        // gRPC's health service returns this for an unknown service.
        Code::Ok | Code::NotFound => return None,
        Code::Internal if UNREADABLE.iter().any(|words| status.message().starts_with(words)) => {
            Reason::BadRequest
        }
        code => reason_of_foreign(code),
    };
    let message = match (status.message(), reason) {
        ("", Reason::Unimplemented) => "this port has no such method; reflection lists those that it has",
        (message, _) => message.trim_start_matches("Error, "),
    };
    Some(Error::new(reason, message))
}

/// The reason for a status that does not come from a service of the mesh, such as one of a proxy in between.
fn reason_of_foreign(code: Code) -> Reason {
    match code {
        Code::DeadlineExceeded => Reason::DeadlineExceeded,
        // It is unknown whether the call has started.
        Code::Unavailable | Code::Cancelled => Reason::ConnectionLost,
        Code::Unauthenticated => Reason::Unauthenticated,
        Code::PermissionDenied => Reason::PermissionDenied,
        Code::InvalidArgument => Reason::BadRequest,
        Code::ResourceExhausted | Code::OutOfRange => Reason::TooLarge,
        Code::Unimplemented => Reason::Unimplemented,
        _ => Reason::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn errors_survive_the_conversion_to_a_status() {
        let errors = [
            Error::new(Reason::NoWorker, "No worker available"),
            Error::field("name", "can't be blank"),
            Error::overloaded("too many invocations", Duration::from_secs(1)),
        ];
        for error in errors {
            let status = Status::from(error.clone());
            assert_eq!(status.code(), code(error.reason));
            assert_eq!(Error::from(&status), error);
        }
    }

    #[test]
    fn the_largest_errors_fit_into_headers() {
        let long = || "漢é".repeat(5000);
        let fields = (0..100).map(|_| (long(), long()));
        for error in [Error::new(Reason::GuestTrapped, long()), Error::fields(fields)] {
            let mut headers = http::HeaderMap::new();
            Status::from(error).add_header(&mut headers).expect("headers");
            let bytes: usize =
                headers.iter().map(|(name, value)| name.as_str().len() + value.len() + 32).sum();
            assert!(bytes < 16 << 10, "{bytes} bytes");
        }
    }

    #[test]
    fn a_foreign_status_may_have_started() {
        assert!(!Error::from(Status::unavailable("upstream connect error")).not_started());
    }
}
