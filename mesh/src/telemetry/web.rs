//! The spans of requests to web servers.

use tracing::Span;
use tracing::field::{Empty, display};
use url::Url;

use crate::inner_span;

/// A request that leaves for a web server, until it is answered.
#[derive(Debug, Clone)]
pub struct WebSpan(Span);

impl WebSpan {
    /// A request within the current trace, if there is one. The span says to whom it goes, and no more of
    /// `url`: paths of web hooks and of some interfaces are secrets, too.
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

    /// It was answered with this status.
    pub fn answered(&self, status: u16) {
        self.0.record("http.response.status_code", status);
        if status >= 400 {
            self.0.record("otel.status_code", "ERROR");
            self.0.record("error.type", display(status));
        }
    }

    /// There is no answer.
    pub fn no_answer(&self) {
        failed(&self.0, "no_answer");
    }
}

/// What `span` is about has failed, because of something of this kind.
pub fn failed(span: &Span, error_type: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error_type);
}
