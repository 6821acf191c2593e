//! The body of a response, as its caller reads it.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Frame, SizeHint};
use tonic::Status;
use tonic::body::Body;

use crate::endpoint::Endpoint;
use crate::error::{Error, Reason};
use crate::telemetry::RpcSpan;

/// The body of a response that is remote, or has a span.
pub(super) struct ResponseBody {
    pub(super) body: Body,
    /// The remote service.
    pub(super) remote: Option<Arc<Endpoint>>,
    /// The span of the call. The body is read within it, and it ends with the body's trailers.
    pub(super) span: Option<RpcSpan>,
}

impl http_body::Body for ResponseBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, remote, span } = &mut *self;
        let body = Pin::new(body);
        let polled = match span {
            Some(span) => span.span().in_scope(|| body.poll_frame(context)),
            None => body.poll_frame(context),
        };
        if let (Poll::Ready(Some(Ok(frame))), Some(span)) = (&polled, span)
            && let Some(trailers) = frame.trailers_ref()
        {
            span.ended_with(trailers);
        }
        polled.map_err(|status| match remote {
            Some(endpoint) => lost(endpoint, &status),
            None => status,
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// Once a response has begun, its call has started.
fn lost(endpoint: &Endpoint, status: &Status) -> Status {
    let message = format!("the connection to {endpoint} broke: {}", status.message());
    Error::new(Reason::ConnectionLost, message).into()
}
