//! The server stack: the layers around every service's handlers.
//!
//! [`Grpc`] collects the gRPC services of one port and puts the stack around them. The result is an
//! `axum::Router`, which is served on a socket or called by a local channel.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::future::BoxFuture;
use futures::{FutureExt as _, StreamExt as _};
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyExt as _, BodyStream, StreamBody};
use opentelemetry::trace::TraceContextExt as _;
use prometheus::Registry;
use tokio::sync::Semaphore;
use tonic::server::NamedService;
use tonic::service::Routes;
use tonic::{Code, Status};
use tonic_health::ServingStatus;
use tower::ServiceBuilder;
use tower::util::option_layer;
use tracing::Span;

use crate::auth::{Caller, Secret};
use crate::config::ServerConfig;
use crate::deadline::{Deadline, GRPC_TIMEOUT, parse_grpc_timeout};
use crate::error::{self, Error, Reason};
use crate::health::Readiness;
use crate::http2::require_http2;
use crate::metrics::{RpcMetrics, show_permits};
use crate::reflection;
use crate::shutdown::Tasks;
use crate::telemetry::{self, Traced as _};

/// A service as its `App` returns it, ready to be served.
#[derive(Debug)]
pub struct Service {
    /// Its name: `registry`.
    pub name: &'static str,
    /// The router that is served at `server.listen`, or through a local channel.
    pub router: axum::Router,
    /// The routers of other listeners, by the listener's name.
    pub more: Vec<(&'static str, axum::Router)>,
    /// Its background tasks.
    pub tasks: Tasks,
    /// Whether it is ready.
    pub readiness: Readiness,
}

/// Health and reflection need no secret.
const OPEN_TO_ALL: &str = "/grpc.";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

/// How long callers should wait before a retry when the server is overloaded.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Additional trailers of a response. A handler sets them as an extension of its response.
#[derive(Debug, Clone, Default)]
pub struct Trailers(pub HeaderMap);

/// Something that is dropped once a response has been sent. A handler sets it as an extension of its response.
#[derive(Clone)]
pub struct UntilSent(#[expect(dead_code, reason = "it is only held")] Arc<dyn Any + Send + Sync>);

impl UntilSent {
    /// Drops `held` once the response has been sent.
    pub fn new(held: impl Any + Send + Sync) -> Self {
        Self(Arc::new(held))
    }
}

/// The gRPC services of one port.
pub struct Grpc {
    routes: Routes,
    names: Vec<&'static str>,
    begins_trace: fn(&str) -> bool,
    reflects: fn(&str) -> bool,
    admission: Option<Admission>,
}

/// Admits a call by its headers, or refuses it.
pub type Admission = Arc<dyn Fn(Request) -> BoxFuture<'static, Result<Request, Error>> + Send + Sync>;

impl Default for Grpc {
    fn default() -> Self {
        Self {
            routes: Routes::default(),
            names: Vec::new(),
            begins_trace: |_| false,
            reflects: |_| true,
            admission: None,
        }
    }
}

impl Grpc {
    /// Calls without a trace begin one if `begins` returns true for their path. By default none do: within
    /// the mesh, calls without a trace are the services' own background work.
    #[must_use]
    pub fn begin_traces(mut self, begins: fn(&str) -> bool) -> Self {
        self.begins_trace = begins;
        self
    }

    /// Every call must pass `admission` before it takes a permit and before its body is read.
    #[must_use]
    pub fn admit(mut self, admission: Admission) -> Self {
        self.admission = Some(admission);
        self
    }

    /// Limits reflection to the methods for whose paths `reflects` returns true. The default is all methods
    /// of the port.
    #[must_use]
    pub fn reflect(mut self, reflects: fn(&str) -> bool) -> Self {
        self.reflects = reflects;
        self
    }

    /// Adds a service.
    #[must_use]
    pub fn service<S>(mut self, service: S) -> Self
    where
        S: tower::Service<http::Request<tonic::body::Body>, Error = std::convert::Infallible>
            + NamedService
            + Clone
            + Send
            + Sync
            + 'static,
        S::Response: IntoResponse,
        S::Future: Send + 'static,
    {
        self.names.push(S::NAME);
        self.routes = self.routes.add_service(service);
        self
    }

    /// Adds health and reflection, and puts the stack around all services.
    pub fn build(
        self,
        config: &ServerConfig,
        metrics: &Registry,
        readiness: &Readiness,
        tasks: &Tasks,
    ) -> axum::Router {
        let (reporter, health) = tonic_health::server::health_reporter();
        let (reflection, reflection_v1alpha) = reflection::services(&self.names, self.reflects);
        tasks.spawn(report_health(reporter, self.names, readiness.clone()));
        let routes = self.routes.add_service(health).add_service(reflection).add_service(reflection_v1alpha);

        let permits = Arc::new(Semaphore::new(config.max_concurrent));
        show_permits(metrics, "grpc", config.max_concurrent, &permits);
        // A request passes the layers from top to bottom, its response from bottom to top.
        let stack = ServiceBuilder::new()
            .layer(from_fn(require_http2))
            .layer(from_fn_with_state(self.begins_trace, continue_trace))
            .layer(from_fn_with_state(RpcMetrics::new(metrics), observe))
            .layer(from_fn_with_state(config.secret.clone(), identify_caller))
            .layer(option_layer(self.admission.map(|admission| from_fn_with_state(admission, admit))))
            .layer(from_fn_with_state(permits, limit_concurrency))
            .layer(from_fn_with_state(readiness.clone(), end_when_draining))
            .layer(from_fn(enforce_deadline))
            .layer(from_fn(add_reasons))
            .layer(from_fn(send_trailers))
            .layer(from_fn(catch_panic));
        routes.into_axum_router().layer(stack)
    }
}

/// Reports the readiness as the status of each service in the gRPC health service.
async fn report_health(
    reporter: tonic_health::server::HealthReporter,
    names: Vec<&'static str>,
    readiness: Readiness,
) {
    let mut ready = readiness.watch();
    loop {
        let status = match *ready.borrow_and_update() {
            true => ServingStatus::Serving,
            false => ServingStatus::NotServing,
        };
        for name in names.iter().copied().chain([""]) {
            reporter.set_service_status(name, status).await;
        }
        if ready.changed().await.is_err() {
            return;
        }
    }
}

/// Counts the call and measures its duration up to the last byte of the response.
async fn observe(State(metrics): State<RpcMetrics>, request: Request, next: Next) -> Response {
    let mut observation = metrics.start(request.uri().path());
    let response = next.run(request).await;
    observation.of_trace(telemetry::sampled_trace_id());
    // A call that fails before it has a body has its status in the headers, any other one in the trailers.
    if let Some(code) = grpc_code(response.headers()) {
        observation.ended_with(code);
    }
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            if let Some(code) = frame.trailers_ref().and_then(grpc_code) {
                observation.ended_with(code);
            }
            frame
        }))
    })
}

fn grpc_code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// Adds a span for the call to its caller's trace; paths for which `begins` returns true begin a trace of
/// their own. A subscription, the only call without a deadline, has no span: it is long-lived.
async fn continue_trace(State(begins): State<fn(&str) -> bool>, request: Request, next: Next) -> Response {
    let path = request.uri().path();
    let parent = telemetry::parent_of(request.headers());
    let continues = parent.has_active_span() && request.headers().contains_key(GRPC_TIMEOUT);
    if !continues && !begins(path) {
        return next.run(request).await;
    }
    // For an unsampled trace, only the context is propagated.
    if parent.has_active_span() && !parent.span().span_context().is_sampled() {
        return next.run(request).traced(Span::none(), parent).await;
    }
    let call = telemetry::server_span(path);
    let response = next.run(request).traced(call.span().clone(), parent).await;
    if call.span().is_disabled() {
        return response;
    }
    call.ended_with(response.headers());
    response.map(|body| Body::new(call.within(body)))
}

/// Refuses calls without the mesh's secret, except health and reflection. Adds the [`Caller`] to the
/// request's extensions.
async fn identify_caller(State(secret): State<Option<Secret>>, mut request: Request, next: Next) -> Response {
    let open = request.uri().path().starts_with(OPEN_TO_ALL);
    if let Some(secret) = secret
        && !open
        && !secret.is_in(request.headers())
    {
        let message = "this port is for services of the mesh; clients use the gateway";
        return refuse(Error::new(Reason::PermissionDenied, message));
    }
    match Caller::read(request.headers()) {
        Some(caller) => request.extensions_mut().insert(caller),
        None => {
            return refuse(Error::new(Reason::Unauthenticated, "the caller's headers contradict each other"));
        }
    };
    next.run(request).await
}

/// Lets the port's own check admit the call.
async fn admit(State(admission): State<Admission>, request: Request, next: Next) -> Response {
    match admission(request).await {
        Ok(request) => next.run(request).await,
        Err(error) => refuse(error),
    }
}

/// Refuses calls over the limit at once. A permit is held until the response's body ends. Health checks are
/// never refused: an overloaded service is still live.
async fn limit_concurrency(State(permits): State<Arc<Semaphore>>, request: Request, next: Next) -> Response {
    if request.uri().path() == HEALTH_CHECK {
        return next.run(request).await;
    }
    let Ok(permit) = permits.try_acquire_owned() else {
        return refuse(Error::overloaded("too many calls at once", RETRY_AFTER));
    };
    let response = next.run(request).await;
    response.map(|body| {
        Body::new(body.map_frame(move |frame| {
            let _held = &permit;
            frame
        }))
    })
}

/// Adds the handler's [`Trailers`] to the trailers of the response, and holds its [`UntilSent`] until the body ends.
async fn send_trailers(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let mut held: Option<UntilSent> = response.extensions_mut().remove();
    let more: Option<Trailers> = response.extensions_mut().remove();
    if held.is_none() && more.is_none() {
        return response;
    }
    let Trailers(mut more) = more.unwrap_or_default();
    response.map(|body| {
        Body::new(body.map_frame(move |mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                drop(held.take());
                trailers.extend(std::mem::take(&mut more));
            }
            frame
        }))
    })
}

/// Ends the streams of health and reflection when the service drains; otherwise only their caller ends them.
async fn end_when_draining(State(readiness): State<Readiness>, request: Request, next: Next) -> Response {
    let subscribes = request.uri().path().starts_with(OPEN_TO_ALL);
    let response = next.run(request).await;
    if !subscribes {
        return response;
    }
    let end = async move {
        readiness.draining().await;
        Error::unavailable("the service stops")
    };
    response.map(|body| Body::new(until(tonic::body::Body::new(body), end)))
}

/// Passes on the frames of `body`. If `end` completes first, the call ends with its error.
pub fn until(
    body: tonic::body::Body,
    end: impl Future<Output = Error> + Send + 'static,
) -> tonic::body::Body {
    let open = Some((BodyStream::new(body), Box::pin(end)));
    let frames = futures::stream::unfold(open, |open| async {
        let (mut frames, mut end) = open?;
        tokio::select! {
            frame = frames.next() => frame.map(|frame| (frame, Some((frames, end)))),
            error = &mut end => {
                let mut trailers = HeaderMap::new();
                let ended = Status::from(error).add_header(&mut trailers).map(|()| Frame::trailers(trailers));
                Some((ended, None))
            }
        }
    });
    tonic::body::Body::new(StreamBody::new(frames))
}

/// Any shorter timeout counts as expired.
const NO_TIME: Duration = Duration::from_micros(1);

/// Cancels the handler at the deadline, and does not start it if the deadline has already passed.
async fn enforce_deadline(mut request: Request, next: Next) -> Response {
    let Some(header) = request.headers().get(GRPC_TIMEOUT) else { return next.run(request).await };
    let Some(timeout) = header.to_str().ok().and_then(parse_grpc_timeout) else {
        let message =
            format!("grpc-timeout {header:?} is malformed; expected 1 to 8 digits and H, M, S, m, u or n");
        return refuse(Error::new(Reason::BadRequest, message));
    };
    let too_late = || refuse(Error::new(Reason::DeadlineExceeded, "the deadline has passed"));
    if timeout < NO_TIME {
        return too_late();
    }
    let deadline = Deadline::after(timeout);
    request.extensions_mut().insert(deadline);
    let answer = tokio::time::timeout_at(deadline.instant(), next.run(request)).await;
    answer.unwrap_or_else(|_| too_late())
}

/// Adds a reason to errors that tonic makes itself.
async fn add_reasons(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    add_reason(response.headers_mut());
    response.map(|body| {
        Body::new(body.map_frame(|mut frame| {
            if let Some(trailers) = frame.trailers_mut() {
                add_reason(trailers);
            }
            frame
        }))
    })
}

fn add_reason(headers: &mut HeaderMap) {
    if grpc_code(headers).is_none_or(|code| code == Code::Ok) {
        return;
    }
    let error = Status::from_header_map(headers).and_then(|status| error::without_reason(&status));
    if let Some(error) = error
        && let Err(refused) = Status::from(error).add_header(headers)
    {
        tracing::error!(%refused, "an error does not fit into the headers");
    }
}

/// Turns a panic of a handler into an internal error of this call.
async fn catch_panic(request: Request, next: Next) -> Response {
    let rpc = request.uri().path().to_owned();
    match AssertUnwindSafe(next.run(request)).catch_unwind().await {
        Ok(response) => response,
        Err(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            refuse(Error::internal(format!("{rpc} panicked: {words}")))
        }
    }
}

fn refuse(error: Error) -> Response {
    Status::from(error).into_http()
}
