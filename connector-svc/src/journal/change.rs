//! What is written into the journal.

use std::sync::Arc;

use bytes::Bytes;
use mesh::hash::Hash;
use mesh::telemetry::TraceParent;
use proto::deadletter::v1::DeadLetter;
use uuid::Uuid;

use crate::binding::BoundFunction;

/// An event in the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) id: Uuid,
    /// By which its kind recognises it.
    pub(crate) key: String,
    /// Of all that came, when the key alone is ambiguous.
    pub(crate) fingerprint: Option<Hash>,
    pub(crate) invocation_id: Uuid,
    pub(crate) received_at_ms: i64,
    /// The function's argument, when the source does not send it again.
    pub(crate) args: Option<Bytes>,
    /// The source need not send it again; it may not know that yet.
    pub(crate) ended: bool,
    /// The span of its first receipt.
    pub(crate) trace: Option<TraceParent>,
}

/// A dead letter, and the span that failed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DeadLetterRecord {
    pub(crate) letter: DeadLetter,
    pub(crate) trace: Option<TraceParent>,
}

/// A change to what the journal knows of one binding.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) binding_id: Arc<str>,
    pub(crate) change: Change,
}

/// What has happened. Each change counts once, however often it is written; only [`Change::Pass`], which
/// leaves no row to recognise it by, may count twice when its answer was lost.
///
/// A replica that has lost the lease of a binding may not know it yet. An event that it begins after the next
/// holder has read the journal would be unknown to that holder, which would begin it again. So each holder has
/// a fencing epoch, and only the last one begins events; those of a former one are not found.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A replica becomes the binding's holder. Opens the ledger, or updates the function's names in it. The
    /// result is the holder's epoch.
    Open(Arc<BoundFunction>),
    /// An event has come in, and is going to be handled.
    Begin { epoch: u64, entry: Entry },
    /// An invalid event has come in, and has ended with that.
    Invalid { epoch: u64, entry: Entry, letter: Option<Box<DeadLetterRecord>> },
    /// The source need not send the event again. An event that could not be handled becomes a dead letter,
    /// unless it has ended before.
    End { id: Uuid, invalid: bool, letter: Option<Box<DeadLetterRecord>> },
    /// An event has come in and ended whose source never sends it again. Counted, without a row.
    Pass { invalid: bool, letter: Option<Box<DeadLetterRecord>> },
    /// The source does not have these events any more, and nobody handles them.
    MarkLost(Vec<Uuid>),
    /// The source has none of the binding's events any more.
    MarkAllLost,
    /// The source knows that these events have ended.
    Clear(Vec<Uuid>),
    /// Sets the binding's cursor, unless it is set.
    SetCursor(i64),
    /// Moves the cursor without an event, if it is at `from`.
    MoveCursor { epoch: u64, from: i64, to: i64 },
    /// Moves the cursor and begins the event that goes with it, if the cursor is at `from`; otherwise a later
    /// holder has moved it, and nothing is found.
    Advance { epoch: u64, from: i64, to: i64, entry: Entry },
    /// A dead letter has been redriven.
    Redriven(String),
    /// A redrive of a dead letter has failed, in this span.
    RedriveFailed { id: String, reason: String, trace: Option<TraceParent> },
    /// Discards dead letters.
    Purge(Vec<String>),
}

impl Change {
    /// Whether it accepts an event, and with it work that has to be finished.
    pub(super) fn accepts_event(&self) -> bool {
        matches!(self, Self::Begin { .. } | Self::Invalid { .. } | Self::Advance { .. })
    }
}
