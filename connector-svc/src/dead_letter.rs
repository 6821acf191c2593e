//! Dead letters of events.

use bytes::Bytes;
use mesh::clock::now_ms;
use mesh::telemetry;
use proto::deadletter::v1::DeadLetter;
use proto::registry::v1::BindingRole;
use uuid::Uuid;

use crate::binding::BoundFunction;

/// An event that will not be handled.
pub(crate) struct FailedEvent {
    pub(crate) invocation_id: Uuid,
    pub(crate) received_at_ms: i64,
    pub(crate) reason: String,
    pub(crate) attempts: u32,
    pub(crate) payload: FailedPayload,
}

/// What is kept of the payload of a failed event.
pub(crate) enum FailedPayload {
    /// The function's argument.
    Args(Bytes),
    /// The event is invalid: the beginning of what its source sent, and the size of all of it in bytes.
    Invalid {
        /// Bytes of any form.
        kept: Bytes,
        /// Of the whole payload.
        size: usize,
    },
}

impl FailedEvent {
    /// The event as a dead letter, in the current trace.
    pub(crate) fn into_dead_letter(self, bound: &BoundFunction) -> DeadLetter {
        let (payload, size, invalid) = match self.payload {
            FailedPayload::Args(args) => (args.clone(), args.len(), false),
            FailedPayload::Invalid { kept, size } => (kept, size, true),
        };
        DeadLetter {
            id: Uuid::now_v7().to_string(),
            role: BindingRole::Event.into(),
            binding_id: bound.binding_id.to_string(),
            binding_type: bound.kind.clone(),
            function_id: bound.function_id.clone(),
            module: bound.module.clone(),
            function: bound.function.clone(),
            owner: bound.owner.clone(),
            invocation_id: self.invocation_id.to_string(),
            reason: self.reason,
            attempts: self.attempts,
            received_at_ms: self.received_at_ms,
            dead_lettered_at_ms: now_ms(),
            payload_bytes: size as u64,
            payload,
            trace_id: telemetry::current_trace_id().unwrap_or_default(),
            invalid,
        }
    }
}
