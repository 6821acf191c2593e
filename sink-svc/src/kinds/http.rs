//! HTTP requests of sinks, and their responses.

use std::time::{Duration, SystemTime};

use bytes::{Bytes, BytesMut};
use http::header::{LOCATION, RETRY_AFTER};
use http::{HeaderMap, StatusCode};
use mesh::egress::HttpError;
use mesh::telemetry::{self, WebSpan};
use tracing::Instrument as _;
use url::Url;

use super::address::without_secrets;
use super::network::Connector;
use super::{Away, FaultScope, Outcome, Refusal};

/// Longer waits that a store asks for are cut to this.
pub(crate) const MAX_RETRY_AFTER: Duration = Duration::from_secs(600);

/// The message for redirects. They are not followed: they may be permanent, or point into our own network.
const NO_REDIRECTS: &str = "sinks do not follow redirects; set the url to the address that takes results";

/// A store's response.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    /// The target of a redirect, without secrets.
    redirect: Option<String>,
    retry_after: Option<Duration>,
    /// Truncated to the limit of the request.
    pub(super) body: Bytes,
}

/// Sends a request and reads at most `max_bytes` of the response's body. The request is a span of the current
/// trace; its context is sent to the store.
pub(super) async fn send(
    connector: &Connector,
    request: reqwest::RequestBuilder,
    max_bytes: usize,
) -> Result<Answer, Away> {
    let mut request = request.build().map_err(|error| no_answer(error.into()))?;
    let span = WebSpan::new(request.method().as_str(), request.url());
    span.span().in_scope(|| telemetry::inject_current(request.headers_mut()));
    let answer = exchange(connector, request, max_bytes).instrument(span.span().clone()).await;
    match &answer {
        Ok(answer) => span.answered(answer.status.as_u16()),
        Err(HttpError::Denied(_)) => span.denied(),
        Err(HttpError::Failed(_)) => span.no_answer(),
    }
    answer.map_err(no_answer)
}

async fn exchange(
    connector: &Connector,
    request: reqwest::Request,
    max_bytes: usize,
) -> Result<Answer, HttpError> {
    let mut response = connector.execute(request).await?;
    let status = response.status();
    let retry_after = retry_after(response.headers(), SystemTime::now());
    let redirect = redirect_target(response.url(), status, response.headers());
    let mut body = BytesMut::new();
    // The status is known; an incomplete body does not change it.
    while let Ok(Some(chunk)) = response.chunk().await {
        let remaining = max_bytes.saturating_sub(body.len());
        body.extend_from_slice(&chunk[..chunk.len().min(remaining)]);
        if body.len() == max_bytes {
            break;
        }
    }
    Ok(Answer { status, redirect, retry_after, body: body.freeze() })
}

/// A store that cannot be connected to is unavailable for all bindings. One that connects and does not answer
/// may answer others.
fn no_answer(error: HttpError) -> Away {
    let error = match error {
        HttpError::Denied(denied) => return Away::not_connected(&denied.into()),
        HttpError::Failed(error) => error,
    };
    let is_connect = error.is_connect();
    let scope = if is_connect { FaultScope::Destination } else { FaultScope::Unknown };
    // A store that accepts connections may still not answer requests.
    Away { shows_in_probe: is_connect, ..Away::new(scope, &error_chain(error)) }
}

/// Whether a status means that the store accepts nothing from us now, whatever we send.
pub(super) fn refuses_all_requests(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401 | 408 | 429 | 502..=504)
}

impl Answer {
    /// The error that this response stands for: the store is unavailable.
    pub(super) fn away(&self, scope: FaultScope) -> Away {
        let retry_after = self.retry_after;
        Away { retry_after, shows_in_probe: false, ..Away::new(scope, &self.summary()) }
    }

    /// A summary for people. Without the body, which may repeat what we sent.
    fn summary(&self) -> String {
        let status = self.status;
        match (&self.redirect, is_redirect(status)) {
            (Some(target), _) => format!("answered {status}, a redirect to {target}: {NO_REDIRECTS}"),
            (None, true) => format!("answered {status}, a redirect: {NO_REDIRECTS}"),
            (None, false) => format!("answered {status}"),
        }
    }

    /// The refusal that this response stands for. Redirects are final.
    pub(super) fn refusal(&self, detail: Option<String>) -> Outcome {
        let reason = match detail {
            Some(detail) => format!("{}: {detail}", self.summary()),
            None => self.summary(),
        };
        let is_final = self.status.is_redirection();
        Outcome::Refused(Refusal { is_final, retry_after: self.retry_after, ..Refusal::new(&reason) })
    }
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 300..=303 | 305 | 307 | 308)
}

/// The target of a redirect, without secrets.
fn redirect_target(from: &Url, status: StatusCode, headers: &HeaderMap) -> Option<String> {
    let location = headers.get(LOCATION).filter(|_| status.is_redirection())?;
    let target = from.join(location.to_str().ok()?).ok()?;
    target.has_host().then(|| without_secrets(&target))
}

/// How long the store asks us to wait: `Retry-After` is a number of seconds or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    let wait = match text.parse() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => httpdate::parse_http_date(text).ok()?.duration_since(now).unwrap_or_default(),
    };
    Some(wait.min(MAX_RETRY_AFTER))
}

/// An error with its causes, since reqwest's own message does not say what happened. Without the URL, which
/// may contain a password.
fn error_chain(error: reqwest::Error) -> String {
    let error = error.without_url();
    if error.is_timeout() {
        return "it did not answer in time".to_owned();
    }
    let mut message = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        message.push_str(": ");
        message.push_str(&error.to_string());
        cause = error.source();
    }
    message
}

#[cfg(test)]
mod tests {
    use http::{HeaderValue, Method};
    use proto::registry::v1::FunctionBinding;

    use super::*;
    use crate::kinds::network::tests::allowing;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = httpdate::parse_http_date("Wed, 21 Oct 2015 07:28:00 GMT").expect("a date");
        let seconds = Duration::from_secs;
        for (text, expected) in [
            ("120", Some(seconds(120))),
            (" 0 ", Some(seconds(0))),
            ("Wed, 21 Oct 2015 07:29:30 GMT", Some(seconds(90))),
            ("Wed, 21 Oct 2015 07:00:00 GMT", Some(seconds(0))),
            ("99999999", Some(MAX_RETRY_AFTER)),
            ("soon", None),
            ("-1", None),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(RETRY_AFTER, HeaderValue::from_static(text));
            assert_eq!(retry_after(&headers, now), expected, "{text}");
        }
        assert_eq!(retry_after(&HeaderMap::new(), now), None);
    }

    #[test]
    fn redirects_are_described_without_secrets() {
        let from = Url::parse("http://u:hunter2@h:1/in?key=hunter2").expect("a URL");
        for (status, location, expected) in [
            (302, Some("http://h:1/in/"), ", a redirect to http://h:1/in/: "),
            (301, Some("https://u:hunter2@h/in?token=hunter2#hunter2"), ", a redirect to https://h/in: "),
            (307, Some("/elsewhere?key=hunter2"), ", a redirect to http://h:1/elsewhere: "),
            (308, Some("//other/x"), ", a redirect to http://other/x: "),
            (302, Some("mailto:hunter2"), ", a redirect: "),
            (302, Some("http://"), ", a redirect: "),
            (303, None, ", a redirect: "),
            (304, None, ""),
            (200, Some("http://h/"), ""),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            let mut headers = HeaderMap::new();
            headers.extend(location.map(|location| (LOCATION, HeaderValue::from_static(location))));
            let redirect = redirect_target(&from, status, &headers);
            let answer = Answer { status, redirect, retry_after: None, body: Bytes::new() };
            let rest = if expected.is_empty() { "" } else { NO_REDIRECTS };
            assert_eq!(answer.summary(), format!("answered {status}{expected}{rest}"), "{location:?}");
            let Outcome::Refused(refusal) = answer.refusal(None) else { panic!("{status} is accepted") };
            assert_eq!(refusal.is_final, status.is_redirection());
        }
    }

    #[test]
    fn statuses_that_refuse_all_requests() {
        for (status, expected) in [
            (200, false),
            (302, false),
            (400, false),
            (403, false),
            (404, false),
            (413, false),
            (500, false),
            (401, true),
            (408, true),
            (429, true),
            (502, true),
            (503, true),
            (504, true),
        ] {
            let status = StatusCode::from_u16(status).expect("a status");
            assert_eq!(refuses_all_requests(status), expected, "{status}");
        }
    }

    #[tokio::test]
    async fn errors_do_not_show_passwords() {
        let connector = allowing().of("webhook", &FunctionBinding::default());
        let url = "http://u:hunter2@127.0.0.1:1/".parse().expect("a URL");
        let request = connector.request(Method::GET, url);
        let away = send(&connector, request, 1).await.expect_err("nothing listens");
        assert_eq!(away.scope, FaultScope::Destination);
        assert!(!away.reason.to_string().contains("hunter2"), "{}", away.reason);
    }

    #[tokio::test]
    async fn no_answer_may_not_concern_other_bindings() {
        let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let connector = allowing().of("webhook", &FunctionBinding::default());
        let url = format!("http://{address}/").parse().expect("a URL");
        let request = connector.request(Method::GET, url).timeout(Duration::from_millis(100));
        let away = send(&connector, request, 1).await.expect_err("no answer");
        assert_eq!(away.scope, FaultScope::Unknown);
    }
}
