//! The spans of requests to web servers.

use tracing::Span;
use tracing::field::{Empty, display};
use url::{Position, Url};

use crate::inner_span;

/// A request that leaves for a web server, until it is answered.
#[derive(Debug, Clone)]
pub struct WebSpan(Span);

impl WebSpan {
    /// A request within the current trace, if there is one.
    pub fn new(method: &str, url: &Url) -> Self {
        Self(inner_span!(
            "http client",
            otel.name = method,
            otel.kind = "client",
            otel.status_code = Empty,
            http.request.method = method,
            http.response.status_code = Empty,
            url.full = without_secrets(url),
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

/// A URL without user, password, query and fragment, each of which may be a secret.
pub fn without_secrets(url: &Url) -> String {
    let place = &url[Position::BeforeHost..Position::AfterPath];
    format!("{}://{place}", url.scheme())
}

/// What `span` is about has failed, because of something of this kind.
pub fn failed(span: &Span, error_type: &str) {
    span.record("otel.status_code", "ERROR");
    span.record("error.type", error_type);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_secret_is_shown() {
        let cases = [
            ("http://u:hunter2@h:1/db?key=hunter2#hunter2", "http://h:1/db"),
            ("https://hunter2@h", "https://h/"),
            ("data:text/plain,x", "data://text/plain,x"),
        ];
        for (text, shown) in cases {
            assert_eq!(without_secrets(&text.parse().expect("a URL")), shown);
        }
    }
}
