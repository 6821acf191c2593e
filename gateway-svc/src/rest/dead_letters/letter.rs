//! Dead letters in responses.

use mesh::clock::rfc_3339;
use proto::deadletter::v1::{DeadLetter, RedriveFailure};
use proto::registry::v1::BindingRole;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::role::Role;

/// An event that could not be handled, or a result that could not be delivered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterView {
    /// A UUID version 7: ids have the order of `dead_lettered_at`.
    id: String,
    role: Option<Role>,
    binding_id: String,
    #[schema(example = "mqtt")]
    binding_type: String,
    /// The function's module when it was dead-lettered.
    module: String,
    /// The function's name when it was dead-lettered.
    function: String,
    /// A redrive uses the same id.
    invocation_id: String,
    /// The error of the last attempt.
    reason: String,
    attempts: u32,
    /// RFC 3339.
    received_at: String,
    /// RFC 3339.
    dead_lettered_at: String,
    /// Size of the payload in bytes.
    payload_bytes: u64,
    /// The event's binding does not accept the payload, for example because it is not valid JSON. The
    /// function has not run, and the dead letter cannot be redriven.
    invalid: bool,
    /// The trace of the last attempt; empty: there was none.
    #[schema(example = "0af7651916cd43dd8448eb211c80319c")]
    trace_id: String,
}

/// A dead letter with its payload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(crate) struct DeadLetterWithPayload {
    #[serde(flatten)]
    letter: DeadLetterView,
    /// The function's argument, or its result, unchanged. Absent if the event was invalid.
    #[schema(value_type = Option<serde_json::Value>, nullable = false)]
    payload: (),
    /// The payload of an invalid event, in Base64. It is truncated if it is too large for a message.
    #[schema(example = "aGVsbG8=", nullable = false)]
    payload_base64: Option<String>,
}

impl From<DeadLetter> for DeadLetterView {
    fn from(letter: DeadLetter) -> Self {
        Self {
            role: match letter.role() {
                BindingRole::Unspecified => None,
                BindingRole::Event => Some(Role::Event),
                BindingRole::Sink => Some(Role::Sink),
            },
            id: letter.id,
            binding_id: letter.binding_id,
            binding_type: letter.binding_type,
            module: letter.module,
            function: letter.function,
            invocation_id: letter.invocation_id,
            reason: letter.reason,
            attempts: letter.attempts,
            received_at: rfc_3339(letter.received_at_ms),
            dead_lettered_at: rfc_3339(letter.dead_lettered_at_ms),
            payload_bytes: letter.payload_bytes,
            invalid: letter.invalid,
            trace_id: letter.trace_id,
        }
    }
}

/// The outcome of a redrive.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Redriven {
    /// The number of redriven dead letters.
    pub(super) redriven: usize,
    /// The dead letters that failed again.
    pub(super) failures: Vec<RedriveFailureView>,
}

/// A dead letter that failed again.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct RedriveFailureView {
    id: String,
    pub(super) reason: String,
}

impl From<RedriveFailure> for RedriveFailureView {
    fn from(RedriveFailure { id, reason }: RedriveFailure) -> Self {
        Self { id, reason }
    }
}

/// The number of purged dead letters.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    pub(super) purged: usize,
}
