//! Renewals of leases in memory.
//!
//! Holders renew their leases every two seconds. With SQLite, this process is the only registry, and writing each renewal
//! would wear out the flash memory of a small machine.

use std::collections::HashMap;

use mesh::clock::now_ms;
use parking_lot::Mutex;

use super::Holder;

/// When the leases of each holder expire, unless the database knows that.
#[derive(Debug)]
pub(crate) struct Renewals {
    /// Holders that have not called since this process began get one lease from then on.
    first_expires_at_ms: i64,
    by_holder: Mutex<HashMap<String, i64>>,
}

impl Renewals {
    /// Those of a registry that begins now, whose leases last for `lease_ms`.
    pub(crate) fn new(lease_ms: u32) -> Self {
        Self { first_expires_at_ms: now_ms().saturating_add(lease_ms.into()), by_holder: Mutex::default() }
    }

    /// The holder as it is stored, with its latest renewal.
    pub(crate) fn latest(&self, stored: Holder) -> Holder {
        let renewed = self.by_holder.lock().get(&stored.name).copied();
        Holder { expires_at_ms: renewed.unwrap_or(self.first_expires_at_ms), ..stored }
    }

    /// Remembers a renewal.
    pub(crate) fn renew(&self, holder: &Holder) {
        self.by_holder.lock().insert(holder.name.clone(), holder.expires_at_ms);
    }

    /// Forgets a holder.
    pub(crate) fn remove(&self, name: &str) {
        self.by_holder.lock().remove(name);
    }
}
