//! The spans of gRPC calls, on the client and on the server.

use http::HeaderMap;
use tonic::Code;
use tracing::Span;
use tracing::field::Empty;

use super::SPANS;
use crate::endpoint::Endpoint;

/// The span of a call until its status is known. A span without a status belongs to a cancelled call.
#[derive(Debug, Clone)]
pub(crate) struct RpcSpan {
    span: Span,
    is_error: fn(Code) -> bool,
}

/// Service and method of a path such as `/funless.scheduler.v1.Invocations/Invoke`.
fn service_and_method(path: &str) -> (&str, &str) {
    path.trim_start_matches('/').split_once('/').unwrap_or_default()
}

/// The span of a call to the method at `path`, with `more` fields.
macro_rules! rpc_span {
    ($name:literal, $kind:literal, $path:ident $(, $more:ident.$field:ident = $value:expr)*) => {{
        let (service, method) = service_and_method($path);
        tracing::info_span!(
            target: SPANS,
            $name,
            otel.name = $path.trim_start_matches('/'),
            otel.kind = $kind,
            otel.status_code = Empty,
            rpc.system = "grpc",
            rpc.service = service,
            rpc.method = method,
            rpc.grpc.status_code = Empty,
            error.type = Empty,
            $($more.$field = $value,)*
        )
    }};
}

/// The span of an outgoing call to `endpoint`.
pub(crate) fn client_span(path: &str, endpoint: &Endpoint) -> RpcSpan {
    let span = rpc_span!("rpc client", "client", path, server.address = tracing::field::display(endpoint));
    RpcSpan { span, is_error: |code| code != Code::Ok }
}

/// The span of an incoming call.
pub(crate) fn server_span(path: &str) -> RpcSpan {
    RpcSpan { span: rpc_span!("rpc server", "server", path), is_error: is_servers_error }
}

/// Whether the code is an error of the server, by the semantic conventions.
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

    /// Records the status in these headers or trailers, if there is one.
    pub(crate) fn ended_with(&self, headers: &HeaderMap) {
        if self.span.is_disabled() {
            return;
        }
        if let Some(status) = headers.get("grpc-status") {
            self.ended(Code::from_bytes(status.as_bytes()));
        }
    }

    /// Records the call's status.
    pub(crate) fn ended(&self, code: Code) {
        self.span.record("rpc.grpc.status_code", code as i32);
        if (self.is_error)(code) {
            self.span.record("otel.status_code", "ERROR");
            self.span.record("error.type", format_args!("{code:?}"));
        }
    }
}
