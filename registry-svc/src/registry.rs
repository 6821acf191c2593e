//! What the registry does, for whom, and what it takes for valid. Each noun's verbs are in its file.

use mesh::Caller;

use crate::code::Uploads;
use crate::error::{RegistryError, Result};
use crate::store::Store;

/// The registry without its network.
pub(crate) struct Registry {
    pub(crate) store: Store,
    pub(crate) uploads: Uploads,
    /// How long issued tokens are valid, in milliseconds.
    pub(crate) token_ttl_ms: i64,
}

/// Refuses users: this is for the mesh's own services.
pub(crate) fn only_services(caller: &Caller) -> Result<()> {
    match caller {
        Caller::Service => Ok(()),
        Caller::Subject(_) | Caller::Admin(_) => {
            Err(RegistryError::PermissionDenied("this is for the mesh's own services"))
        }
    }
}

/// Refuses users who are no administrators.
pub(crate) fn only_admins(caller: &Caller) -> Result<()> {
    match caller {
        Caller::Service | Caller::Admin(_) => Ok(()),
        Caller::Subject(_) => Err(RegistryError::PermissionDenied("this is for administrators")),
    }
}
