//! What happens around each call of a port, whether it comes from another process or from this one.
//!
//! [`Stack::answer`] is the order: trace, metrics, caller, admission, permit, deadline, and the handler, whose panics end
//! only its call. What lasts as long as the response - span, metrics and permit - comes with the response.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use opentelemetry::Context;
use opentelemetry::context::FutureExt as _;
use opentelemetry::trace::TraceContextExt as _;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::Code;
use tracing::{Instrument as _, Span};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use super::services::Services;
use super::{Admission, Filter};
use crate::auth::{Caller, Secret};
use crate::deadline::Deadline;
use crate::error::{Error, Reason};
use crate::health::Readiness;
use crate::metrics::{RpcMetrics, RpcObservation};
use crate::telemetry::{self, RpcSpan};

/// Health and reflection need no secret.
pub(super) const OPEN_TO_ALL: &str = "/grpc.";
const HEALTH_CHECK: &str = "/grpc.health.v1.Health/Check";

/// How long callers should wait before a retry when the server is overloaded.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// A deadline that is nearer counts as passed.
const NO_TIME: Duration = Duration::from_micros(1);

/// The services of a port, and what the calls to them share.
pub(crate) struct Stack {
    pub(super) services: Services,
    pub(super) filter: Filter,
    pub(super) begins_trace: fn(&str) -> bool,
    pub(super) metrics: RpcMetrics,
    pub(super) secret: Option<Secret>,
    pub(super) admission: Option<Admission>,
    pub(super) permits: Arc<Semaphore>,
    pub(super) readiness: Readiness,
}

/// A call that has arrived.
pub(super) trait Incoming: Send + Sized {
    /// What its caller gets.
    type Response: Send;

    /// The path of its method.
    fn path(&self) -> &str;

    /// The context of its caller, with the trace that it belongs to.
    fn parent(&self) -> Context;

    /// Whether it has a deadline.
    fn has_deadline(&self) -> bool;

    /// Its deadline, if it has one.
    fn deadline(&self) -> Result<Option<Deadline>, Error>;

    /// Whether its caller knows this secret.
    fn has_secret(&self, secret: &Secret) -> bool;

    /// Its caller.
    fn caller(&self) -> Result<Caller, Error>;

    /// The same call once the port's own check has admitted it.
    fn admitted(self, admission: &Admission) -> impl Future<Output = Result<Self, Error>> + Send;

    /// Calls the handler.
    fn handle(
        self,
        stack: &Stack,
        caller: Caller,
        deadline: Option<Deadline>,
    ) -> impl Future<Output = Self::Response> + Send;

    /// The response to a call that is refused.
    fn refusal(error: Error) -> Self::Response;

    /// The status of the response, if it is known before the response's end.
    fn code(response: &Self::Response) -> Option<Code>;
}

/// A response, and what is held until it has been sent.
pub(super) struct Answer<R> {
    pub(super) response: R,
    pub(super) permit: Option<OwnedSemaphorePermit>,
    pub(super) observation: RpcObservation,
    pub(super) span: Option<RpcSpan>,
}

impl Stack {
    /// Answers a call.
    pub(super) async fn answer<C: Incoming>(&self, call: C) -> Answer<C::Response> {
        let (context, span) = self.trace(&call);
        let entered = span.as_ref().map_or_else(Span::none, |span| span.span().clone());
        let answered = self.observe(call).instrument(entered).with_context(context).await;
        let (response, permit, observation) = answered;
        if let (Some(span), Some(code)) = (&span, C::code(&response)) {
            span.ended(code);
        }
        Answer { response, permit, observation, span }
    }

    /// The context of a call, and its span. The span belongs to its caller's trace; paths for which
    /// `begins_trace` returns true begin a trace of their own. A subscription, the only call without a deadline, has
    /// no span: it is long-lived.
    fn trace<C: Incoming>(&self, call: &C) -> (Context, Option<RpcSpan>) {
        let parent = call.parent();
        let (has_parent, is_sampled) = {
            let span = parent.span();
            (span.span_context().is_valid(), span.span_context().is_sampled())
        };
        let continues = has_parent && call.has_deadline();
        if !continues && !(self.begins_trace)(call.path()) {
            return (Context::current(), None);
        }
        // For an unsampled trace, only the context is propagated.
        if has_parent && !is_sampled {
            return (parent, None);
        }
        let span = telemetry::server_span(call.path());
        if span.span().is_disabled() {
            return (parent, None);
        }
        // It fails only without the layer, and then the span is disabled.
        let _ = span.span().set_parent(parent);
        (Context::current(), Some(span))
    }

    /// Counts the call and measures its duration.
    async fn observe<C: Incoming>(
        &self,
        call: C,
    ) -> (C::Response, Option<OwnedSemaphorePermit>, RpcObservation) {
        let mut observation = self.metrics.start(call.path());
        let (response, permit) = match self.admit(call).await {
            Ok((response, permit)) => (response, permit),
            Err(error) => (C::refusal(error), None),
        };
        observation.of_trace(telemetry::sampled_trace_id());
        if let Some(code) = C::code(&response) {
            observation.ended_with(code);
        }
        (response, permit, observation)
    }

    /// Refuses calls from outside the mesh, those that the port does not admit, and those over the limit.
    async fn admit<C: Incoming>(
        &self,
        mut call: C,
    ) -> Result<(C::Response, Option<OwnedSemaphorePermit>), Error> {
        if let Some(secret) = &self.secret
            && !call.path().starts_with(OPEN_TO_ALL)
            && !call.has_secret(secret)
        {
            let message = "this port is for services of the mesh; clients use the gateway";
            return Err(Error::new(Reason::PermissionDenied, message));
        }
        let caller = call.caller()?;
        if let Some(admission) = &self.admission {
            call = call.admitted(admission).await?;
        }
        let permit = self.permit(call.path())?;
        Ok((self.handle_in_time(call, caller).await?, permit))
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
    async fn handle_in_time<C: Incoming>(&self, call: C, caller: Caller) -> Result<C::Response, Error> {
        let Some(deadline) = call.deadline()? else { return self.handle(call, caller, None).await };
        let too_late = || Error::new(Reason::DeadlineExceeded, "the deadline has passed");
        if deadline.remaining() < NO_TIME {
            return Err(too_late());
        }
        let handled = self.handle(call, caller, Some(deadline));
        tokio::time::timeout_at(deadline.instant(), handled).await.unwrap_or_else(|_| Err(too_late()))
    }

    /// Calls the handler. Its panic is an internal error of this call.
    async fn handle<C: Incoming>(
        &self,
        call: C,
        caller: Caller,
        deadline: Option<Deadline>,
    ) -> Result<C::Response, Error> {
        let rpc = call.path().to_owned();
        let handled = AssertUnwindSafe(call.handle(self, caller, deadline)).catch_unwind().await;
        handled.map_err(|panic| {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
            Error::internal(format!("{rpc} panicked: {words}"))
        })
    }
}
