//! `funless.sink.v1.Delivery`.

use mesh::Caller;
use proto::sink::v1::delivery_server::Delivery;
use proto::sink::v1::{DeliverRequest, DeliverResponse};
use tonic::{Request, Response, Status};

use super::Handler;
use crate::error::{MAX_INVOCATION_ID, SinkError};
use crate::outbox::{Arrival, Function};

#[tonic::async_trait]
impl Delivery for Handler {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        Caller::of(&request).only_services()?;
        let arrival = decode(request.into_inner())?;
        self.metrics.accepted.inc_by(self.outbox.accept(arrival).await?);
        Ok(Response::new(DeliverResponse {}))
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
        sinks: request.sinks,
        result: request.result,
    })
}

/// Whether stores of all kinds take it as a name.
fn is_invocation_id(text: &str) -> bool {
    text.len() <= MAX_INVOCATION_ID && text.bytes().all(|byte| matches!(byte, b' '..=b'~'))
}
