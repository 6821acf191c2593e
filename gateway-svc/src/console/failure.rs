//! Failures of pages: a page that says what was wrong, or the way to sign in.

use axum::response::{IntoResponse, Redirect, Response};
use http::StatusCode;
use mesh::{Error, Reason};
use serde_json::Value;

use super::layout;

/// Why there is no page.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub(super) status: StatusCode,
    /// In words, for the user.
    pub(super) message: String,
    /// The path of the page that needs a session.
    wants_session: Option<String>,
}

impl Failure {
    fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into(), wants_session: None }
    }

    pub(super) fn not_found(message: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, message)
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn forbidden(message: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, message)
    }

    pub(super) fn too_large() -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "the form is too large")
    }

    /// A fault of the gateway, which is logged.
    pub(super) fn internal(context: impl std::fmt::Display) -> Self {
        tracing::error!(%context, "a page of the console failed");
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "something went wrong; the log of the gateway says what")
    }

    /// The page at `path` needs a session.
    pub(super) fn signed_out(path: &str) -> Self {
        let message = "sign in first";
        Self { wants_session: Some(path.to_owned()), ..Self::new(StatusCode::UNAUTHORIZED, message) }
    }

    /// The response of the REST API to a request that it refused.
    pub(super) fn of_rest(status: StatusCode, body: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(body).unwrap_or_default();
        let errors = body.get("errors").and_then(Value::as_object);
        let text = |key: &str| errors?.get(key)?.as_str().map(str::to_owned);
        let fields = || {
            let messages = errors?.iter().filter_map(|(field, messages)| {
                let messages: Vec<_> = messages.as_array()?.iter().filter_map(Value::as_str).collect();
                Some(format!("{field} {}", messages.join(", ")))
            });
            Some(messages.collect::<Vec<_>>().join("; ")).filter(|text| !text.is_empty())
        };
        let message = text("message").or_else(|| text("detail")).or_else(fields);
        let failure = Self::new(status, message.unwrap_or_else(|| "the gateway gave no reason".to_owned()));
        match status {
            // The token has been revoked, or is not an administrator's.
            StatusCode::UNAUTHORIZED => Self { wants_session: Some("/console".to_owned()), ..failure },
            _ => failure,
        }
    }

    /// The name of the status.
    fn title(&self) -> &'static str {
        self.status.canonical_reason().unwrap_or("Failed")
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error.reason {
            Reason::Unauthenticated => return Self::signed_out("/console"),
            Reason::Overloaded => StatusCode::TOO_MANY_REQUESTS,
            Reason::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
            _ => return Self::internal(error),
        };
        Self::new(status, error.message)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        match &self.wants_session {
            Some(path) => Redirect::to(&layout::sign_in_path(path)).into_response(),
            None => (self.status, layout::bare(self.title(), &layout::failed(&self.message))).into_response(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_the_rest_api() {
        let cases = [
            (r#"{"errors":{"detail":"Not Found","message":"no function \"f\""}}"#, "no function \"f\""),
            (r#"{"errors":{"detail":"Error: why"}}"#, "Error: why"),
            (
                r#"{"errors":{"code":["can't be blank"],"name":["is long","is odd"]}}"#,
                "code can't be blank; name is long, is odd",
            ),
            ("", "the gateway gave no reason"),
        ];
        for (body, message) in cases {
            assert_eq!(Failure::of_rest(StatusCode::NOT_FOUND, body.as_bytes()).message, message);
        }
    }
}
