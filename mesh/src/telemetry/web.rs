//! The spans of requests to web servers.

use tracing::Span;
use tracing::field::{Empty, display};
use url::Url;

use crate::inner_span;

/// The span of an outgoing HTTP request.
#[derive(Debug, Clone)]
pub struct WebSpan(Span);

impl WebSpan {
    /// Starts a span within the current trace, if there is one. Of `url`, it contains only scheme, host and
    /// port: paths of webhooks and of some APIs are secrets.
    pub fn new(method: &str, url: &Url) -> Self {
        Self(inner_span!(
            "http client",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = Empty,
            http.request.method = method,
            http.response.status_code = Empty,
            url.scheme = url.scheme(),
            server.address = url.host_str(),
            server.port = url.port_or_known_default(),
            error.type = Empty,
        ))
    }

    /// The span itself.
    pub fn span(&self) -> &Span {
        &self.0
    }

    /// Records the status of the response.
    pub fn answered(&self, status: u16) {
        self.0.record("http.response.status_code", status);
        if status >= 400 {
            self.0.record("otel.status_code", "ERROR");
            self.0.record("error.type", display(status));
        }
    }

    /// Records that the egress policy denied the request.
    pub fn denied(&self) {
        failed(&self.0, "egress_denied");
    }

    /// Records that there was no response.
    pub fn no_answer(&self) {
        failed(&self.0, "no_answer");
    }
}

/// Marks `span` as failed, with this type of error.
pub fn failed(span: &Span, error_type: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error_type);
}
