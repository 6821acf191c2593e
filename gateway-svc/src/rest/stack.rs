//! The layers around the REST routes.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use axum::body::Body;
use axum::extract::{MatchedPath, Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use http::header::CONNECTION;
use http::{HeaderName, HeaderValue, Version};
use http_body::{Body as _, Frame, SizeHint};
use mesh::telemetry::{self, Kept, Traced as _};
use mesh::{Caller, Error};
use opentelemetry::KeyValue;
use opentelemetry::trace::{SpanKind, TraceContextExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tower_http::request_id::{MakeRequestId, RequestId};
use tracing::field::Empty;
use uuid::Uuid;

use super::Rest;
use super::error::ApiError;
use crate::body_rate::{RatedBody, TooSlow};
use crate::metrics::HttpMetrics;

/// The header with the request's id, which is also in traces.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// How long clients should wait before a retry when the gateway is overloaded.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Makes ids for requests without one.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewRequestId;

impl MakeRequestId for NewRequestId {
    fn make_request_id<B>(&mut self, _: &http::Request<B>) -> Option<RequestId> {
        HeaderValue::try_from(Uuid::now_v7().to_string()).ok().map(RequestId::new)
    }
}

/// The route's pattern, which is used as a label: paths have too many values.
fn route(request: &Request) -> &str {
    request.extensions().get::<MatchedPath>().map_or("unknown", MatchedPath::as_str)
}

/// Counts the request and measures its duration.
pub(super) async fn observe(State(metrics): State<HttpMetrics>, request: Request, next: Next) -> Response {
    let mut observation = metrics.start(route(&request), request.method());
    let response = next.run(request).await;
    observation.ended_with(response.status(), telemetry::sampled_trace_id());
    response
}

/// Adds a span for the request, in its client's trace or in a new one. The response names the span.
pub(super) async fn continue_trace(request: Request, next: Next) -> Response {
    let id = request.headers().get(REQUEST_ID).and_then(|id| id.to_str().ok()).unwrap_or_default();
    let name = format!("{} {}", request.method(), route(&request));
    let (method, path) = (request.method().to_string(), request.uri().path().to_owned());
    let span = tracing::info_span!(
        target: telemetry::SPANS,
        "http server",
        otel.name = name,
        otel.kind = "server",
        otel.status_code = Empty,
        http.request.method = method,
        http.route = route(&request),
        http.response.status_code = Empty,
        url.path = path,
        url.scheme = "http",
        error.type = Empty,
        faas.trigger = Empty,
        funless.request_id = id,
    );
    let (start, route) = (SystemTime::now(), route(&request).to_owned());
    let parent = telemetry::parent_of(request.headers());
    let has_parent = parent.has_active_span();
    let mut response = next.run(request).traced(span.clone(), parent).await;
    let status = response.status();
    span.record("http.response.status_code", status.as_u16());
    if status.is_server_error() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", status.as_str());
        telemetry::keep_error(&span, has_parent, || Kept {
            name,
            kind: SpanKind::Server,
            start,
            error: status.to_string(),
            attributes: vec![
                KeyValue::new("http.request.method", method),
                KeyValue::new("http.route", route),
                KeyValue::new("url.path", path),
                KeyValue::new("http.response.status_code", i64::from(status.as_u16())),
                KeyValue::new("error.type", status.as_str().to_owned()),
            ],
        });
    }
    if let Some((header, value)) = telemetry::trace_response(&span) {
        response.headers_mut().insert(header, value);
    }
    response
}

/// The user of a request. An extension of requests to routes that need a token.
#[derive(Debug, Clone)]
pub(super) struct Authenticated(pub(super) Caller);

/// Verifies the token before the request takes a permit. The body of a refused request is not read: the client gets its
/// response at once, and its connection is closed.
pub(super) async fn authenticate(State(rest): State<Rest>, mut request: Request, next: Next) -> Response {
    let address = request.extensions().get().copied();
    match rest.authenticator.authenticate(request.headers(), address).await {
        Ok(caller) => {
            request.extensions_mut().insert(Authenticated(caller));
            next.run(request).await
        }
        Err(error) => {
            let mut response = ApiError::from(error).into_response();
            if request.version() < Version::HTTP_2 && !request.body().is_end_stream() {
                response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
            }
            response
        }
    }
}

/// Requires a minimum rate of the request's body.
pub(super) async fn require_rate(State(rest): State<Rest>, request: Request, next: Next) -> Response {
    let too_slow = TooSlow::default();
    let request = request.map(|body| RatedBody::wrap(body, rest.min_body_bytes_per_s, &too_slow));
    let response = next.run(request).await;
    match too_slow.get() && response.status().is_client_error() {
        true => ApiError::request_timeout().into_response(),
        false => response,
    }
}

/// Refuses requests over the limit at once. A permit is held until the response's body ends.
pub(super) async fn limit_concurrency(
    State(permits): State<Arc<Semaphore>>,
    request: Request,
    next: Next,
) -> Response {
    let Ok(permit) = permits.try_acquire_owned() else {
        return ApiError::from(Error::overloaded("too many requests run at once", RETRY_AFTER))
            .into_response();
    };
    next.run(request).await.map(|body| Body::new(Permitted { body, _permit: permit }))
}

/// A body that holds a permit and keeps its size hint.
struct Permitted {
    body: Body,
    _permit: OwnedSemaphorePermit,
}

impl http_body::Body for Permitted {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Turns a panic of a handler into an internal error of this request.
pub(super) fn panicked(panic: Box<dyn std::any::Any + Send>) -> Response {
    let words = panic.downcast_ref::<String>().map(String::as_str);
    let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    ApiError::internal(format!("a handler panicked: {words}")).into_response()
}

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;
    use tower_http::catch_panic::CatchPanicLayer;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_an_error_like_others() {
        let routes = axum::Router::new()
            .route("/", get(async || -> &'static str { panic!("internals") }))
            .layer(CatchPanicLayer::custom(panicked));
        let response = routes.oneshot(http::Request::get("/").body(Body::empty()).expect("a request")).await;
        let response = response.expect("an answer");
        assert_eq!(response.status(), 500);
        let body = response.into_body().collect().await.expect("a body").to_bytes();
        assert_eq!(body, r#"{"errors":{"detail":"Something went wrong","reason":"INTERNAL"}}"#);
    }
}
