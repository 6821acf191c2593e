//! How an event comes in, and how it may leave without having been handled.

use mesh::group_commit::Closed;
use mesh::hash::Hash;
use uuid::Uuid;

use crate::journal::Entry;

/// How an event arrives.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// It is never sent again.
    Once,
    /// For the first time.
    First {
        /// By which its kind knows it again.
        key: String,
        /// Of what came, when a key alone does not tell.
        fingerprint: Option<Hash>,
        /// The invocation that it causes, when that follows from the event.
        invocation_id: Option<Uuid>,
    },
    /// It is in the journal and has not ended.
    Again(Entry),
}

/// The event has not ended, and shall come again: the binding stops, another replica has taken it over, or
/// the journal does not say whether it has the event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Abandoned;

impl From<Closed> for Abandoned {
    fn from(_: Closed) -> Self {
        Self
    }
}
