//! What clients see of dead letters.

use proto::deadletter::v1::{DeadLetter, RedriveFailure};
use proto::registry::v1::BindingRole;
use serde::Serialize;
use utoipa::ToSchema;

use super::super::role::Role;
use super::super::time::rfc_3339;

/// An event that could not be handled, or a result that could not be delivered.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct DeadLetterView {
    /// A UUID of version 7: ids are in the order of `dead_lettered_at`.
    id: String,
    role: Option<Role>,
    binding_id: String,
    #[schema(example = "mqtt")]
    binding_type: String,
    /// The function's module when it was dead-lettered.
    module: String,
    /// The function's name when it was dead-lettered.
    function: String,
    /// A redrive has the same.
    invocation_id: String,
    /// What the last attempt failed with.
    reason: String,
    attempts: u32,
    /// RFC 3339.
    received_at: String,
    /// RFC 3339.
    dead_lettered_at: String,
    /// Size of the payload in bytes.
    payload_bytes: u64,
    /// The payload was not what the event's binding accepts, such as valid JSON. The function has not run, and
    /// the letter cannot be redriven.
    invalid: bool,
    /// The trace in which the last attempt failed; empty: there was none.
    #[schema(example = "0af7651916cd43dd8448eb211c80319c")]
    trace_id: String,
}

/// A dead letter with its payload.
#[derive(ToSchema)]
#[expect(dead_code, reason = "for the documentation")]
pub(crate) struct DeadLetterWithPayload {
    #[serde(flatten)]
    letter: DeadLetterView,
    /// The function's argument, or its result, as it was. Absent if the event was invalid.
    #[schema(value_type = Option<serde_json::Value>, nullable = false)]
    payload: (),
    /// What the source of an invalid event sent, in Base64. Its end is missing where it was too large for a
    /// message.
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

/// What became of letters that were redriven.
#[derive(Debug, Default, Serialize, ToSchema)]
pub(crate) struct Redriven {
    /// How many are no dead letters any more.
    pub(super) redriven: usize,
    /// Those that stay.
    pub(super) failures: Vec<RedriveFailureView>,
}

/// A letter that stays.
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

/// What was thrown away.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Purged {
    pub(super) purged: usize,
}
