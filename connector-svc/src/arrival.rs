//! How an event comes in, and how it may be abandoned.

use mesh::group_commit::Closed;
use mesh::hash::Hash;
use uuid::Uuid;

use crate::journal::Entry;

/// How an event arrives.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// Its source never redelivers it.
    Once,
    /// It comes in for the first time.
    First {
        /// By which its kind recognises a redelivery.
        key: String,
        /// The hash of its content, if a key alone is ambiguous.
        fingerprint: Option<Hash>,
        /// The invocation that it causes, if that is derived from the event.
        invocation_id: Option<Uuid>,
    },
    /// It is in the journal, in flight.
    Again(Entry),
}

/// The event has not ended, and must be redelivered: the binding stops, another replica has taken it over, or it is
/// unknown whether the journal has the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandoned;

impl From<Closed> for Abandoned {
    fn from(_: Closed) -> Self {
        Self
    }
}
