//! What the registry does, for whom, and what it takes for valid. Each noun's verbs are in its file.

use std::collections::HashSet;

use mesh::Caller;
use parking_lot::Mutex;

use crate::code::Uploads;
use crate::error::{RegistryError, Result};
use crate::store::Store;

/// The registry without its network.
pub(crate) struct Registry {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    /// How long issued tokens are valid, in milliseconds.
    pub(crate) token_ttl_ms: i64,
    /// How long leases of bindings last, in milliseconds.
    pub(crate) binding_lease_ms: u32,
    /// Ids of bindings of which has been told that they cannot be read.
    pub(crate) unreadable_told: Mutex<HashSet<String>>,
}

/// Refuses users who are no administrators.
pub(crate) fn only_admins(caller: &Caller) -> Result<()> {
    match caller {
        Caller::Service | Caller::Admin(_) => Ok(()),
        Caller::Subject(_) => Err(RegistryError::PermissionDenied("this is for administrators")),
    }
}
