//! The registry's operations, with authorization and validation. Each resource has its own file.

use std::collections::HashSet;

use mesh::Caller;
use parking_lot::Mutex;

use crate::code::Uploads;
use crate::error::{RegistryError, Result};
use crate::known_bindings::KnownBindings;
use crate::store::{Renewals, Store};

/// The registry without the network layer.
pub(crate) struct Registry {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    /// The memory of one invocation that workers allow, in bytes.
    pub(crate) max_memory_bytes: u64,
    /// How long issued tokens are valid, in milliseconds.
    pub(crate) token_ttl_ms: i64,
    /// The most bytes of stored parameters of one subject's functions.
    pub(crate) max_params_bytes_per_subject: u64,
    /// Renewals of leases, if the database is only for this process.
    pub(crate) renewals: Option<Renewals>,
    /// The bindings that holders share, as last read.
    pub(crate) known_bindings: KnownBindings,
    /// How long leases of bindings last, in milliseconds.
    pub(crate) binding_lease_ms: u32,
    /// The ids of unreadable bindings that have been logged.
    pub(crate) unreadable_logged: Mutex<HashSet<String>>,
}

/// Refuses callers that are neither services nor administrators.
pub(crate) fn only_admins(caller: &Caller) -> Result<()> {
    match caller {
        Caller::Service | Caller::Admin(_) => Ok(()),
        Caller::Subject(_) => Err(RegistryError::PermissionDenied("this is for administrators")),
    }
}
