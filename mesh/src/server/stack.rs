//! What happens around each call of a port: one future, with one kind of body.
//!
//! [`Stack::serve`] is the order: trace, metrics, caller, admission, permit, deadline, and the handler, whose panics end
//! only its call. What lasts as long as the response - span, metrics and permit - is held by its body.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use futures::FutureExt as _;
use http::HeaderMap;
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::TraceContextExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Status;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::body::{CallBody, add_reason, grpc_code, until};
use super::services::Services;
use super::{Admission, Filter, Trailers};
use crate::auth::{Caller, Secret};
use crate::deadline::{Deadline, GRPC_TIMEOUT, parse_grpc_timeout};
use crate::error::{Error, Reason};
use crate::health::Readiness;
use crate::http2;
use crate::metrics::{RpcMetrics, RpcObservation};
use crate::telemetry::{self, RpcSpan};

/// Health and reflection need no secret.
const OPEN_TO_ALL: &str = "/grpc.";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

/// How long callers should wait before a retry when the server is overloaded.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Any shorter timeout counts as expired.
const NO_TIME: Duration = Duration::from_micros(1);

/// The services of a port, and what the calls to them share.
pub(super) struct Stack {
    pub(super) services: Services,
    pub(super) filter: Filter,
    pub(super) begins_trace: fn(&str) -> bool,
    pub(super) metrics: RpcMetrics,
    pub(super) secret: Option<Secret>,
    pub(super) admission: Option<Admission>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) readiness: Readiness,
}

/// A response, and what it holds until it has been sent.
struct Answer {
    response: http::Response<tonic::body::Body>,
    permit: Option<OwnedSemaphorePermit>,
}

impl Stack {
    /// Answers a request.
    pub(super) async fn serve(self: Arc<Self>, mut request: Request) -> Response {
        if let Err(error) = (self.filter)(&mut request) {
            return Status::from(error).into_http();
        }
        if let Some(refusal) = http2::refusal_of_http1(&request) {
            return refusal;
        }
        let (context, span) = self.trace(&request);
        let entered = span.as_ref().map_or_else(Span::none, |span| span.span().clone());
        let (answer, observation) = self.observe(request).instrument(entered).with_context(context).await;
        let Answer { mut response, permit } = answer;
        if let Some(span) = &span {
            span.ended_with(response.headers());
        }
        let trailers = response.extensions_mut().remove().unwrap_or_default();
        let Trailers(trailers) = trailers;
        response.map(|body| Body::new(CallBody { body, trailers, _permit: permit, observation, span }))
    }

    /// The context of the call, and its span. The span belongs to its caller's trace; paths for which
    /// `begins_trace` returns true begin a trace of their own. A subscription, the only call without a deadline, has
    /// no span: it is long-lived.
    fn trace(&self, request: &Request) -> (Context, Option<RpcSpan>) {
        let path = request.uri().path();
        let parent = telemetry::parent_of(request.headers());
        let has_parent = parent.has_active_span();
        let continues = has_parent && request.headers().contains_key(GRPC_TIMEOUT);
        if !continues && !(self.begins_trace)(path) {
            return (Context::current(), None);
        }
        // For an unsampled trace, only the context is propagated.
        if has_parent && !parent.span().span_context().is_sampled() {
            return (parent, None);
        }
        let call = telemetry::server_span(path);
        if call.span().is_disabled() {
            return (parent, None);
        }
        // It fails only without the layer, and then the span is disabled.
        let _ = call.span().set_parent(parent);
        (Context::current(), Some(call))
    }

    /// Counts the call and measures its duration.
    async fn observe(&self, request: Request) -> (Answer, RpcObservation) {
        let mut observation = self.metrics.start(request.uri().path());
        let answer = self.admit(request).await;
        let answer =
            answer.unwrap_or_else(|error| Answer { response: Status::from(error).into_http(), permit: None });
        observation.of_trace(telemetry::sampled_trace_id());
        // A call that fails before it has a body has its status in the headers, any other one in the trailers.
        if let Some(code) = grpc_code(answer.response.headers()) {
            observation.ended_with(code);
        }
        (answer, observation)
    }

    /// Refuses calls from outside the mesh, those that the port does not admit, and those over the limit.
    async fn admit(&self, mut request: Request) -> Result<Answer, Error> {
        let caller = self.identify(&request)?;
        request.extensions_mut().insert(caller);
        if let Some(admission) = &self.admission {
            request = admission(request).await?;
        }
        let permit = self.permit(request.uri().path())?;
        // Streams of health and reflection end when the service drains; otherwise only their caller ends them.
        let is_open = request.uri().path().starts_with(OPEN_TO_ALL);
        let mut response = self.answer_in_time(request).await?;
        if is_open {
            let readiness = self.readiness.clone();
            response = response.map(|body| {
                until(body, async move {
                    readiness.draining().await;
                    Error::unavailable("the service stops")
                })
            });
        }
        Ok(Answer { response, permit })
    }

    /// The caller. Calls without the mesh's secret are refused, except health and reflection.
    fn identify(&self, request: &Request) -> Result<Caller, Error> {
        if let Some(secret) = &self.secret
            && !request.uri().path().starts_with(OPEN_TO_ALL)
            && !secret.is_in(request.headers())
        {
            let message = "this port is for services of the mesh; clients use the gateway";
            return Err(Error::new(Reason::PermissionDenied, message));
        }
        Caller::read(request.headers())
            .ok_or_else(|| Error::new(Reason::Unauthenticated, "the caller's headers contradict each other"))
    }

    /// A permit, or a refusal at once. Health checks need none: an overloaded service is still live.
    fn permit(&self, path: &str) -> Result<Option<OwnedSemaphorePermit>, Error> {
        if path == HEALTH_CHECK {
            return Ok(None);
        }
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        permit.map(Some).map_err(|_| Error::overloaded("too many calls at once", RETRY_AFTER))
    }

    /// Cancels the handler at the deadline, and does not start it if the deadline has already passed.
    async fn answer_in_time(&self, mut request: Request) -> Result<http::Response<tonic::body::Body>, Error> {
        let Some(timeout) = timeout_of(request.headers())? else { return self.answer(request).await };
        let too_late = || Error::new(Reason::DeadlineExceeded, "the deadline has passed");
        if timeout < NO_TIME {
            return Err(too_late());
        }
        let deadline = Deadline::after(timeout);
        request.extensions_mut().insert(deadline);
        let answer = tokio::time::timeout_at(deadline.instant(), self.answer(request)).await;
        answer.unwrap_or_else(|_| Err(too_late()))
    }

    /// Calls the handler. Its panic is an internal error of this call.
    async fn answer(&self, request: Request) -> Result<http::Response<tonic::body::Body>, Error> {
        let rpc = request.uri().clone();
        let answer = AssertUnwindSafe(self.services.call(request.map(tonic::body::Body::new)));
        match answer.catch_unwind().await {
            Ok(mut response) => {
                add_reason(response.headers_mut());
                Ok(response)
            }
            Err(panic) => {
                let words = panic.downcast_ref::<String>().map(String::as_str);
                let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
                Err(Error::internal(format!("{} panicked: {words}", rpc.path())))
            }
        }
    }
}

/// The time that the caller waits, if it limits it.
fn timeout_of(headers: &HeaderMap) -> Result<Option<Duration>, Error> {
    let Some(header) = headers.get(GRPC_TIMEOUT) else { return Ok(None) };
    let timeout = header.to_str().ok().and_then(parse_grpc_timeout);
    timeout.map(Some).ok_or_else(|| {
        let message =
            format!("grpc-timeout {header:?} is malformed; expected 1 to 8 digits and H, M, S, m, u or n");
        Error::new(Reason::BadRequest, message)
    })
}
