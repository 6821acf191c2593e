//! `funless.sink.v1.Delivery`.

use mesh::Caller;
use mesh::telemetry::{self, TraceParent};
use proto::sink::v1::delivery_server::Delivery;
use proto::sink::v1::{DeliverRequest, DeliverResponse};
use tonic::{Request, Response, Status};
use tracing::Span;

use super::Handler;
use crate::error::{MAX_INVOCATION_ID, SinkError};
use crate::outbox::{Arrival, Function, Receiver};

#[tonic::async_trait]
impl Delivery for Handler {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        Caller::of(&request).only_services()?;
        let mut arrival = decode(request.into_inner())?;
        let spans = self.begin_spans(&mut arrival);
        let accepted = self.outbox.accept(arrival).await;
        if accepted.is_err() {
            spans.iter().for_each(|span| telemetry::failed(span, "not_taken"));
        }
        self.metrics.accepted.inc_by(accepted?);
        Ok(Response::new(DeliverResponse {}))
    }
}

impl Handler {
    /// Begins a span for each sink, to which its delivery attempts are linked. Without it, they are linked to
    /// the caller's span.
    fn begin_spans(&self, arrival: &mut Arrival) -> Vec<Span> {
        let Some(parent) = TraceParent::current() else { return Vec::new() };
        let (invocation_id, bytes) = (&arrival.invocation_id, arrival.result.len());
        let spans = arrival.sinks.iter_mut().map(|sink| {
            let span = self.stores.enqueue_span(&sink.binding_id, invocation_id, bytes);
            sink.trace = Some(TraceParent::of(&span).unwrap_or(parent));
            span
        });
        spans.collect()
    }
}

fn decode(request: DeliverRequest) -> Result<Arrival, SinkError> {
    for (field, value) in [("invocation_id", &request.invocation_id), ("function_id", &request.function_id)] {
        if value.is_empty() {
            return Err(SinkError::Blank(field));
        }
    }
    if !is_invocation_id(&request.invocation_id) {
        return Err(SinkError::NoInvocationId);
    }
    if request.result.is_empty() {
        return Err(SinkError::Blank("result"));
    }
    if request.sinks.iter().any(String::is_empty) {
        return Err(SinkError::Blank("sinks"));
    }
    Ok(Arrival {
        invocation_id: request.invocation_id,
        function: Function {
            id: request.function_id,
            module: request.module,
            name: request.function,
            owner: request.owner,
        },
        sinks: request.sinks.into_iter().map(|binding_id| Receiver { binding_id, trace: None }).collect(),
        result: request.result,
    })
}

/// Whether stores of all kinds accept `text` as an id.
fn is_invocation_id(text: &str) -> bool {
    text.len() <= MAX_INVOCATION_ID && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
