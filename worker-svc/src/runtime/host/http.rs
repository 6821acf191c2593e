//! The HTTP client of guests.
//!
//! A request that cannot be sent or gets no response has failed: status 0, and the reason in the function's
//! log.

use std::sync::Arc;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method};
use mesh::egress::{Egress, HttpError, HttpOptions, Outbound};
use mesh::telemetry::{self, WebSpan};
use tracing::Instrument as _;

use crate::budget::{Exhausted, HeldBuffer, HeldBytes, MemoryBudget};

/// How denials of egress are counted.
pub(crate) const EGRESS_KIND: &str = "function";

/// Sends the requests of all guests; they share its connections.
#[derive(Debug)]
pub(crate) struct HttpClient {
    client: mesh::egress::HttpClient,
    egress: Egress,
    max_body: usize,
}

/// What the host keeps of one guest's requests.
pub(super) struct GuestHttp {
    client: Arc<HttpClient>,
    outbound: Outbound,
    /// What `__http_read` has not read yet of the last response to `__http_send`.
    pub(super) unread: Option<HeldBytes>,
    /// Requests so far.
    pub(super) requests: u32,
}

/// A request as the guest passed it.
pub(super) struct HttpRequest {
    pub(super) method: Method,
    pub(super) uri: HeldBytes,
    /// `Name:value`, joined by line breaks.
    pub(super) headers: HeldBytes,
    pub(super) body: HeldBytes,
}

/// A response.
pub(super) struct HttpResponse {
    pub(super) status: u16,
    pub(super) body: HeldBytes,
}

impl GuestHttp {
    pub(super) fn new(client: Arc<HttpClient>, outbound: Outbound) -> Self {
        Self { client, outbound, unread: None, requests: 0 }
    }

    /// The client, and on whose behalf it sends.
    pub(super) fn client(&self) -> (Arc<HttpClient>, Outbound) {
        (Arc::clone(&self.client), self.outbound.clone())
    }
}

impl HttpClient {
    /// A client whose requests may take `timeout`, and whose responses may have bodies of `max_body` bytes.
    pub(crate) fn new(egress: Egress, timeout: Duration, max_body: usize) -> reqwest::Result<Self> {
        let options = HttpOptions { timeout: Some(timeout), connect_timeout: None, redirects: true };
        Ok(Self { client: mesh::egress::HttpClient::new(&egress, options)?, egress, max_body })
    }

    /// The requests of a function, given as `module/name`.
    pub(crate) fn outbound(&self, function: &str) -> Outbound {
        self.egress.of(EGRESS_KIND, function)
    }

    /// The response, whose body is taken from `budget`, or why there is none.
    pub(super) async fn send(
        &self,
        outbound: &Outbound,
        budget: &MemoryBudget,
        request: HttpRequest,
    ) -> Result<HttpResponse, RequestError> {
        let headers = parse_headers(&request.headers)?;
        let uri = std::str::from_utf8(&request.uri).map_err(|_| "the URI is not UTF-8".to_owned())?;
        let uri = reqwest::Url::parse(uri).map_err(|error| format!("{uri:?} is not a URI: {error}"))?;
        let span = WebSpan::new(request.method.as_str(), &uri);
        let mut outgoing = self.client.request(request.method, uri);
        if !request.body.is_empty() {
            outgoing = outgoing.body(request.body.into_shared());
        }
        let exchange = self.exchange(outbound, budget, outgoing, headers);
        let response = exchange.instrument(span.span().clone()).await;
        match &response {
            Ok(response) => span.answered(response.status),
            Err(RequestError::Http(HttpError::Denied(_))) => span.denied(),
            Err(_) => span.no_answer(),
        }
        response
    }

    /// Sends a request within its span, and reads the response.
    async fn exchange(
        &self,
        outbound: &Outbound,
        budget: &MemoryBudget,
        outgoing: reqwest::RequestBuilder,
        mut headers: HeaderMap,
    ) -> Result<HttpResponse, RequestError> {
        telemetry::inject_current(&mut headers);
        let outgoing = outgoing.headers(headers).build().map_err(HttpError::Failed)?;
        let mut response = self.client.send(outbound, outgoing).await?;
        let mut body = HeldBuffer::new(budget);
        while let Some(chunk) = response.chunk().await.map_err(HttpError::Failed)? {
            if body.len() + chunk.len() > self.max_body {
                return Err(RequestError::TooLarge { max_bytes: self.max_body });
            }
            body.extend(&chunk)?;
        }
        Ok(HttpResponse { status: response.status().as_u16(), body: body.take() })
    }
}

/// A request without a response.
#[derive(Debug, thiserror::Error)]
pub(super) enum RequestError {
    #[error("{0}")]
    Malformed(String),
    #[error("{}", with_causes(.0))]
    Http(#[from] HttpError),
    #[error("the body of the response is larger than {max_bytes} bytes")]
    TooLarge { max_bytes: usize },
    #[error(transparent)]
    Exhausted(#[from] Exhausted),
}

impl From<String> for RequestError {
    fn from(problem: String) -> Self {
        Self::Malformed(problem)
    }
}

/// An error with its causes: reqwest's own text does not say what happened.
fn with_causes(error: &HttpError) -> String {
    let mut text = error.to_string();
    let mut cause = std::error::Error::source(error);
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// `Name:value`, joined by line breaks. A value may hold a colon.
fn parse_headers(text: &[u8]) -> Result<HeaderMap, String> {
    let mut headers = HeaderMap::new();
    for line in text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii).filter(|line| !line.is_empty()) {
        let wrong = || format!("{:?} is not a header; expected Name:value", String::from_utf8_lossy(line));
        let colon = line.iter().position(|byte| *byte == b':').ok_or_else(wrong)?;
        let name = HeaderName::from_bytes(line[..colon].trim_ascii()).map_err(|_| wrong())?;
        let value = HeaderValue::from_bytes(line[colon + 1..].trim_ascii()).map_err(|_| wrong())?;
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers() {
        let headers = parse_headers(b"A:1\nB: x:y:z \n\na:2\r\n").expect("valid");
        assert_eq!(headers.get_all("a").iter().collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers["b"], "x:y:z");
        assert!(parse_headers(b"").expect("none").is_empty());
        for wrong in ["no colon", ":value", "na me:value", "A:\x01"] {
            let error = parse_headers(wrong.as_bytes()).expect_err(wrong);
            assert!(error.ends_with("is not a header; expected Name:value"), "{error}");
        }
    }
}
