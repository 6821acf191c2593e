//! The latest revision of the registry that this gateway has seen.

use std::sync::atomic::{AtomicU64, Ordering};

use mesh::contact::RegistryContact;

/// The highest revision of the registry in a response to a write, through either of the gateway's ports.
#[derive(Debug)]
pub(crate) struct LatestRevision {
    revision: AtomicU64,
    contact: RegistryContact,
}

impl LatestRevision {
    /// No revision yet of the registry with this contact.
    pub(crate) fn new(contact: RegistryContact) -> Self {
        Self { revision: AtomicU64::new(0), contact }
    }

    /// Notes the revision of a write.
    pub(crate) fn note(&self, revision: u64) {
        self.revision.fetch_max(revision, Ordering::AcqRel);
    }

    /// The highest revision so far that invocations have to see; 0 if there has been none. A scheduler that has missed it
    /// cannot catch up during an outage of the registry; invocations go on with what it knows.
    pub(crate) fn get(&self) -> u64 {
        match self.contact.lost_since() {
            None => self.revision.load(Ordering::Acquire),
            Some(_) => 0,
        }
    }
}
