//! Bodies of responses.

use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use futures::StreamExt as _;
use http::HeaderMap;
use http_body::Frame;
use http_body_util::{BodyStream, StreamBody};
use tokio::sync::OwnedSemaphorePermit;
use tonic::body::Body;
use tonic::{Code, Status};

use super::UntilSent;
use crate::error::{self, Error};
use crate::metrics::RpcObservation;
use crate::telemetry::RpcSpan;

/// The body of a call's response. It holds what lasts until the response has been sent.
pub(super) struct CallBody {
    pub(super) body: Body,
    /// The additional trailers.
    pub(super) trailers: HeaderMap,
    /// Dropped before the trailers are sent.
    pub(super) held: Option<UntilSent>,
    /// Held until the response has been sent.
    pub(super) _permit: Option<OwnedSemaphorePermit>,
    /// Ends with the response.
    pub(super) observation: RpcObservation,
    /// The body is produced within it.
    pub(super) span: Option<RpcSpan>,
}

impl http_body::Body for CallBody {
    type Data = Bytes;
    type Error = Status;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Status>>> {
        let Self { body, trailers: more, held, observation, span, .. } = &mut *self;
        let body = Pin::new(body);
        let mut polled = match span {
            Some(span) => span.span().in_scope(|| body.poll_frame(context)),
            None => body.poll_frame(context),
        };
        if let Poll::Ready(Some(Ok(frame))) = &mut polled
            && let Some(trailers) = frame.trailers_mut()
        {
            drop(held.take());
            trailers.extend(std::mem::take(more));
            add_reason(trailers);
            if let Some(code) = grpc_code(trailers) {
                observation.ended_with(code);
            }
            if let Some(span) = span {
                span.ended_with(trailers);
            }
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }
}

/// The status in headers or trailers.
pub(super) fn grpc_code(headers: &HeaderMap) -> Option<Code> {
    headers.get("grpc-status").map(|status| Code::from_bytes(status.as_bytes()))
}

/// Adds a reason to the status of an error that tonic has made itself.
pub(super) fn add_reason(headers: &mut HeaderMap) {
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

/// Passes on the frames of `body`. If `end` completes first, the call ends with its error.
pub fn until(body: Body, end: impl Future<Output = Error> + Send + 'static) -> Body {
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
    Body::new(StreamBody::new(frames))
}
