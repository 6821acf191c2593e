//! Calls that arrive over HTTP/2.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use http::HeaderMap;
use opentelemetry::Context;
use tonic::{Code, Status};

use super::body::{CallBody, add_reason, grpc_code, until};
use super::stack::{Answer, Incoming, OPEN_TO_ALL, Stack};
use super::{Admission, Trailers};
use crate::auth::{Caller, Secret};
use crate::deadline::{Deadline, GRPC_TIMEOUT, parse_grpc_timeout};
use crate::error::{Error, Reason};
use crate::http2;
use crate::telemetry;

impl Stack {
    /// Answers a request.
    pub(super) async fn serve(self: Arc<Self>, mut request: Request) -> Response {
        if let Err(error) = (self.filter)(&mut request) {
            return Status::from(error).into_http();
        }
        if let Some(refusal) = http2::refusal_of_http1(&request) {
            return refusal;
        }
        let Answer { mut response, permit, observation, span } = self.answer(request).await;
        let Trailers(trailers) = response.extensions_mut().remove().unwrap_or_default();
        let held = response.extensions_mut().remove();
        response.map(|body| Body::new(CallBody { body, trailers, held, _permit: permit, observation, span }))
    }
}

impl Incoming for Request {
    type Response = http::Response<tonic::body::Body>;

    fn path(&self) -> &str {
        self.uri().path()
    }

    fn parent(&self) -> Context {
        telemetry::parent_of(self.headers())
    }

    fn has_deadline(&self) -> bool {
        self.headers().contains_key(GRPC_TIMEOUT)
    }

    fn deadline(&self) -> Result<Option<Deadline>, Error> {
        Ok(timeout_of(self.headers())?.map(Deadline::after))
    }

    fn has_secret(&self, secret: &Secret) -> bool {
        secret.is_in(self.headers())
    }

    fn caller(&self) -> Result<Caller, Error> {
        let contradiction =
            || Error::new(Reason::Unauthenticated, "the caller's headers contradict each other");
        Caller::read(self.headers()).ok_or_else(contradiction)
    }

    async fn admitted(self, admission: &Admission) -> Result<Self, Error> {
        admission(self).await
    }

    async fn handle(mut self, stack: &Stack, caller: Caller, deadline: Option<Deadline>) -> Self::Response {
        self.extensions_mut().insert(caller);
        if let Some(deadline) = deadline {
            self.extensions_mut().insert(deadline);
        }
        let is_open = Incoming::path(&self).starts_with(OPEN_TO_ALL);
        let mut response = stack.services.call(self.map(tonic::body::Body::new)).await;
        add_reason(response.headers_mut());
        if !is_open {
            return response;
        }
        // Streams of health and reflection end when the service drains; otherwise only their caller ends them.
        let readiness = stack.readiness.clone();
        let end = async move {
            readiness.draining().await;
            Error::unavailable("the service stops")
        };
        response.map(|body| until(body, end))
    }

    fn refusal(error: Error) -> Self::Response {
        Status::from(error).into_http()
    }

    /// A call that fails before it has a body has its status in the headers, any other one in the trailers.
    fn code(response: &Self::Response) -> Option<Code> {
        grpc_code(response.headers())
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
