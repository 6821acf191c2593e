//! What this gateway knows of the registry's progress.

use std::sync::atomic::{AtomicU64, Ordering};

/// The highest revision of the registry that this gateway has seen in a reply to a write, through
/// either of its ports.
#[derive(Debug, Default)]
pub(crate) struct LatestRevision(AtomicU64);

impl LatestRevision {
    /// Remembers the revision of a write.
    pub(crate) fn note(&self, revision: u64) {
        self.0.fetch_max(revision, Ordering::AcqRel);
    }

    /// The highest revision so far; 0 when there was none.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
