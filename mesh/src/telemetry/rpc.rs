//! The spans of calls, on both sides.

use http::HeaderMap;
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;

use super::SPANS;
use crate::channel::Endpoint;

/// The span of a call until its status is known. One that does not end with a status was given up.
#[derive(Debug, Clone)]
pub(crate) struct RpcSpan {
    span: Span,
    is_error: fn(Code) -> bool,
}

/// Service and method of a path such as `/funless.scheduler.v1.Invocations/Invoke`.
fn service_and_method(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or_default()
}

/// A call that leaves for `endpoint`.
pub(crate) fn client_span(path: &str, endpoint: &Endpoint) -> RpcSpan {
    let (service, method) = service_and_method(path);
    let span = tracing::info_span!(
        target: SPANS,
        "rpc client",
        otel.name = path.trim_start_matches('/'),
        otel.kind = "client",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        error.type = Empty,
        server.address = %endpoint,
    );
    RpcSpan { span, is_error: |code| code != Code::Ok }
}

/// A call that has come.
pub(crate) fn server_span(path: &str) -> RpcSpan {
    let (service, method) = service_and_method(path);
    let span = tracing::info_span!(
        target: SPANS,
        "rpc server",
        otel.name = path.trim_start_matches('/'),
        otel.kind = "server",
        otel.status_code = Empty,
        rpc.system = "grpc",
        rpc.service = service,
        rpc.method = method,
        rpc.grpc.status_code = Empty,
        error.type = Empty,
    );
    RpcSpan { span, is_error: is_servers_error }
}

/// Whether the server is to blame, by the semantic conventions.
fn is_servers_error(code: Code) -> bool {
    matches!(
        code,
        Code::Unknown
            | Code::DeadlineExceeded
            | Code::Unimplemented
            | Code::Internal
            | Code::Unavailable
            | Code::DataLoss
    )
}

impl RpcSpan {
    /// The span itself.
    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// The call has ended with the status in these headers or trailers, if one is there.
    pub(crate) fn ended_with(&self, headers: &HeaderMap) {
        if self.span.is_disabled() {
            return;
        }
        if let Some(status) = headers.get("grpc-status") {
            self.ended(Code::from_bytes(status.as_bytes()));
        }
    }

    /// The call has ended with this status.
    pub(crate) fn ended(&self, code: Code) {
        self.span.record("rpc.grpc.status_code", code as i32);
        if (self.is_error)(code) {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("error.type", format_args!("{code:?}"));
        }
    }
}
