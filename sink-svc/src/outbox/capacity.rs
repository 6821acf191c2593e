//! The outbox's capacity.

use std::sync::Arc;

use parking_lot::Mutex;

/// A number of rows, and the size of their results in bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Amount {
    pub(crate) rows: i64,
    pub(crate) bytes: i64,
}

impl std::ops::AddAssign for Amount {
    fn add_assign(&mut self, other: Self) {
        self.rows += other.rows;
        self.bytes += other.bytes;
    }
}

impl std::ops::SubAssign for Amount {
    fn sub_assign(&mut self, other: Self) {
        self.rows -= other.rows;
        self.bytes -= other.bytes;
    }
}

/// The outbox's capacity. Clones share it. Each write of this process updates the pending amount. It is also
/// read from the tables from time to time, since other replicas write, too.
#[derive(Debug, Clone)]
pub(super) struct Capacity {
    limit: Amount,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    waiting: Amount,
    /// Reserved for results that are not in the tables yet.
    reserved: Amount,
}

impl Capacity {
    pub(super) fn new(limit: Amount) -> Self {
        Self { limit, used: Arc::default() }
    }

    /// The maximum amount.
    pub(super) fn limit(&self) -> Amount {
        self.limit
    }

    /// Whether this much fits into an empty outbox.
    pub(super) fn can_ever_hold(&self, amount: Amount) -> bool {
        amount.rows <= self.limit.rows && amount.bytes <= self.limit.bytes
    }

    /// Reserves capacity. `None` if it does not fit now.
    pub(super) fn reserve(&self, amount: Amount) -> Option<ReservedCapacity> {
        let mut used = self.used.lock();
        let mut all = used.waiting;
        all += used.reserved;
        all += amount;
        if !self.can_ever_hold(all) {
            return None;
        }
        used.reserved += amount;
        Some(ReservedCapacity { used: Arc::clone(&self.used), amount })
    }

    /// Changes the pending amount after a write of this process.
    pub(super) fn changed(&self, by: Amount) {
        self.used.lock().waiting += by;
    }

    /// Sets the pending amount as read from the tables.
    pub(super) fn set(&self, waiting: Amount) {
        self.used.lock().waiting = waiting;
    }

    /// The pending amount.
    pub(super) fn waiting(&self) -> Amount {
        self.used.lock().waiting
    }
}

/// Capacity that is reserved until this is dropped.
#[derive(Debug)]
pub(crate) struct ReservedCapacity {
    used: Arc<Mutex<Used>>,
    amount: Amount,
}

impl Drop for ReservedCapacity {
    fn drop(&mut self) {
        self.used.lock().reserved -= self.amount;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn amount(rows: i64, bytes: i64) -> Amount {
        Amount { rows, bytes }
    }

    #[test]
    fn reserved_and_pending_amounts_count_together() {
        let capacity = Capacity::new(amount(3, 100));
        capacity.set(amount(1, 10));
        let reserved = capacity.reserve(amount(1, 80)).expect("fits");
        assert!(capacity.reserve(amount(1, 11)).is_none(), "too many bytes");
        assert!(capacity.reserve(amount(2, 1)).is_none(), "too many rows");
        drop(reserved);
        capacity.changed(amount(-1, -10));
        assert!(capacity.reserve(amount(3, 100)).is_some());
        assert!(!capacity.can_ever_hold(amount(1, 101)));
    }
}
