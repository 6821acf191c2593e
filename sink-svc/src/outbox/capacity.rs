//! How much the outbox may hold.

use std::sync::Arc;

use parking_lot::Mutex;

/// Rows, and bytes of results in them.
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

/// The bound. Clones share it. What waits is kept up to date with each write of this process, and read
/// again now and then for what other replicas write.
#[derive(Debug, Clone)]
pub(super) struct Capacity {
    most: Amount,
    used: Arc<Mutex<Used>>,
}

#[derive(Debug, Default)]
struct Used {
    waiting: Amount,
    /// On its way into the tables.
    reserved: Amount,
}

impl Capacity {
    pub(super) fn new(most: Amount) -> Self {
        Self { most, used: Arc::default() }
    }

    /// The bound.
    pub(super) fn most(&self) -> Amount {
        self.most
    }

    /// Whether this much fits into an empty outbox.
    pub(super) fn can_ever_hold(&self, amount: Amount) -> bool {
        amount.rows <= self.most.rows && amount.bytes <= self.most.bytes
    }

    /// ReservedCapacity for this much; `None` when it does not fit now.
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

    /// A write of this process has changed what waits.
    pub(super) fn changed(&self, by: Amount) {
        self.used.lock().waiting += by;
    }

    /// What waits, as the tables have it.
    pub(super) fn set(&self, waiting: Amount) {
        self.used.lock().waiting = waiting;
    }

    /// What waits.
    pub(super) fn waiting(&self) -> Amount {
        self.used.lock().waiting
    }
}

/// ReservedCapacity that is kept free until this is dropped.
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
    fn what_is_reserved_and_what_waits_count_together() {
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
