//! The latest revision of the registry that this gateway has seen.

use std::sync::atomic::{AtomicU64, Ordering};

/// The highest revision of the registry in a response to a write, through either of the gateway's ports.
#[derive(Debug, Default)]
pub(crate) struct LatestRevision(AtomicU64);

impl LatestRevision {
    /// Notes the revision of a write.
    pub(crate) fn note(&self, revision: u64) {
        self.0.fetch_max(revision, Ordering::AcqRel);
    }

    /// The highest revision so far; 0 if there has been none.
    pub(crate) fn get(&self) -> u64 {
        self.0.load(Ordering::Acquire)
    }
}
