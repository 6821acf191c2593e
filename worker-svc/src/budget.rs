//! The memory for all functions of the worker: their linear memories and tables, and what the host holds for them.
//!
//! Whoever allocates takes it from the budget first, in one step for each buffer, and gives it back when that is
//! dropped.

use std::ops::Deref;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::{Buf as _, Bytes};
use prometheus::IntGauge;

/// Buffers double until they have this length, and then grow by as much.
const GROWTH_BYTES: usize = 256 << 10;

/// The memory for all functions together. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct MemoryBudget {
    limit: u64,
    used: Arc<AtomicU64>,
    /// Shows what is taken through this clone.
    shown: IntGauge,
}

/// So little is left of a budget that something is not allocated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("nothing is left of the {budget} bytes of memory for all functions")]
pub(crate) struct Exhausted {
    /// The whole budget in bytes.
    pub(crate) budget: u64,
}

/// Memory that is taken from a budget, until this is dropped.
#[derive(Debug)]
pub(crate) struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

/// Bytes that the host holds for a function.
#[derive(Debug)]
pub(crate) struct HeldBytes {
    bytes: Bytes,
    reservation: Reservation,
}

/// A buffer that the host holds for a function.
#[derive(Debug)]
pub(crate) struct HeldBuffer {
    bytes: Vec<u8>,
    /// For the capacity of the buffer.
    reservation: Reservation,
}

impl MemoryBudget {
    /// A budget of `limit` bytes, whose use `shown` shows.
    pub(crate) fn new(limit: u64, shown: IntGauge) -> Self {
        Self { limit, used: Arc::default(), shown }
    }

    /// The same budget; `shown` shows what is taken through this clone.
    pub(crate) fn shown_by(&self, shown: IntGauge) -> Self {
        Self { shown, ..self.clone() }
    }

    /// Takes `bytes`.
    pub(crate) fn reserve(&self, bytes: usize) -> Result<Reservation, Exhausted> {
        let mut reservation = self.nothing();
        reservation.grow(bytes)?;
        Ok(reservation)
    }

    /// A reservation that can grow.
    pub(crate) fn nothing(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }

    fn take(&self, bytes: usize) -> Result<(), Exhausted> {
        let take = |used: u64| used.checked_add(bytes as u64).filter(|used| *used <= self.limit);
        let taken = self.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| Exhausted { budget: self.limit })?;
        self.shown.add(bytes as i64);
        Ok(())
    }

    fn give_back(&self, bytes: usize) {
        self.used.fetch_sub(bytes as u64, Ordering::Relaxed);
        self.shown.sub(bytes as i64);
    }
}

impl Reservation {
    /// Takes `bytes` more.
    pub(crate) fn grow(&mut self, bytes: usize) -> Result<(), Exhausted> {
        self.budget.take(bytes)?;
        self.bytes += bytes;
        Ok(())
    }

    /// Gives `bytes` back.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.bytes -= bytes;
        self.budget.give_back(bytes);
    }

    /// Gives back what is more than `bytes`.
    pub(crate) fn keep(&mut self, bytes: usize) {
        self.shrink(self.bytes.saturating_sub(bytes));
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.budget.give_back(self.bytes);
    }
}

impl HeldBytes {
    /// Holds bytes that have arrived.
    pub(crate) fn new(budget: &MemoryBudget, bytes: Bytes) -> Result<Self, Exhausted> {
        Ok(Self { reservation: budget.reserve(bytes.len())?, bytes })
    }

    /// Holds a copy of `bytes`.
    pub(crate) fn copy(budget: &MemoryBudget, bytes: &[u8]) -> Result<Self, Exhausted> {
        let reservation = budget.reserve(bytes.len())?;
        Ok(Self { bytes: Bytes::copy_from_slice(bytes), reservation })
    }

    /// The bytes, for those who need them no longer than this exists.
    pub(crate) fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// The bytes, and what is held for them.
    pub(crate) fn into_parts(self) -> (Bytes, Reservation) {
        (self.bytes, self.reservation)
    }

    /// The bytes, held until the last clone is dropped.
    pub(crate) fn into_shared(self) -> Bytes {
        Bytes::from_owner(self)
    }

    /// Moves the first bytes to `buffer`, as many as fit. Returns how many.
    pub(crate) fn read(&mut self, buffer: &mut [u8]) -> usize {
        let count = buffer.len().min(self.bytes.len());
        self.bytes.copy_to_slice(&mut buffer[..count]);
        count
    }
}

impl AsRef<[u8]> for HeldBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Deref for HeldBytes {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

impl HeldBuffer {
    /// An empty buffer.
    pub(crate) fn new(budget: &MemoryBudget) -> Self {
        Self { bytes: Vec::new(), reservation: budget.nothing() }
    }

    /// Appends `bytes`.
    pub(crate) fn extend(&mut self, bytes: &[u8]) -> Result<(), Exhausted> {
        let capacity = self.bytes.capacity();
        let needed = self.bytes.len() + bytes.len();
        if needed > capacity {
            // More than is needed, so that it grows only a few times, if there is as much.
            let more = needed.max(capacity + capacity.min(GROWTH_BYTES));
            let grown = self.reservation.grow(more - capacity).map(|()| more);
            let grown = grown.or_else(|_| self.reservation.grow(needed - capacity).map(|()| needed))?;
            self.bytes.reserve_exact(grown - self.bytes.len());
        }
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    /// The bytes so far. The buffer is empty then.
    pub(crate) fn take(&mut self) -> HeldBytes {
        let mut bytes = std::mem::take(&mut self.bytes);
        let nothing = self.reservation.budget.nothing();
        let mut reservation = std::mem::replace(&mut self.reservation, nothing);
        let surplus = bytes.capacity() - bytes.len();
        bytes.shrink_to_fit();
        reservation.shrink(surplus);
        HeldBytes { bytes: bytes.into(), reservation }
    }
}

impl Deref for HeldBuffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A budget that shows its use nowhere.
    pub(crate) fn budget(limit: u64) -> MemoryBudget {
        MemoryBudget::new(limit, IntGauge::new("total", "total").expect("well-formed"))
    }

    fn used(budget: &MemoryBudget) -> (u64, i64) {
        (budget.used.load(Ordering::Relaxed), budget.shown.get())
    }

    #[test]
    fn what_is_taken_is_given_back_once() {
        let budget = budget(100);
        let mut first = budget.reserve(60).expect("enough is left");
        assert_eq!(budget.reserve(41).expect_err("too much"), Exhausted { budget: 100 });
        assert_eq!(used(&budget), (60, 60));
        first.grow(40).expect("enough is left");
        first.grow(1).expect_err("nothing is left");
        first.shrink(90);
        assert_eq!(used(&budget), (10, 10));
        drop(first);
        assert_eq!(used(&budget), (0, 0));
        assert!(budget.reserve(usize::MAX).is_err());
    }

    #[test]
    fn a_budget_may_be_shown_by_several_gauges() {
        let guests = budget(100);
        let logs = guests.shown_by(IntGauge::new("logs", "logs").expect("well-formed"));
        let held = (guests.reserve(70).expect("enough"), logs.reserve(20).expect("enough"));
        assert_eq!((used(&guests), used(&logs)), ((90, 70), (90, 20)));
        assert!(logs.reserve(11).is_err());
        drop(held);
        assert_eq!((used(&guests), used(&logs)), ((0, 0), (0, 0)));
    }

    #[test]
    fn bytes_are_held_until_they_are_dropped() {
        let budget = budget(10);
        let mut held = HeldBytes::copy(&budget, b"abcdef").expect("enough is left");
        assert!(HeldBytes::new(&budget, Bytes::from_static(b"12345")).is_err());
        let mut buffer = [0; 4];
        assert_eq!((held.read(&mut buffer), &buffer), (4, b"abcd"));
        assert_eq!((held.read(&mut buffer), &buffer[..2]), (2, &b"ef"[..]));
        assert_eq!(held.read(&mut buffer), 0);
        drop(held);

        let held = HeldBytes::copy(&budget, b"shared").expect("all is given back");
        let (bytes, reservation) = held.into_parts();
        assert_eq!((&*bytes, used(&budget)), (&b"shared"[..], (6, 6)));
        drop(reservation);
        let shared = HeldBytes::new(&budget, bytes).expect("all is given back").into_shared();
        let part = shared.slice(..2);
        drop(shared);
        assert_eq!((&*part, used(&budget)), (&b"sh"[..], (6, 6)));
        drop(part);
        assert_eq!(used(&budget), (0, 0));
    }

    #[test]
    fn a_buffer_takes_what_it_allocates() {
        let budget = budget(100);
        let mut buffer = HeldBuffer::new(&budget);
        // The length that is appended, and what is taken then: the capacity.
        for (len, expected) in
            [(10, Ok(10)), (1, Ok(20)), (9, Ok(20)), (40, Ok(60)), (30, Ok(90)), (11, Err(90))]
        {
            let extended = buffer.extend(&vec![b'x'; len]);
            assert_eq!(extended.is_ok(), expected.is_ok(), "{len}");
            let expected = expected.unwrap_or_else(|before| before);
            assert_eq!((buffer.bytes.capacity() as u64, used(&budget).0), (expected, expected), "{len}");
        }
        buffer.extend(&[b'x'; 1]).expect("so much is left");
        let taken = buffer.take();
        assert_eq!((taken.len(), used(&budget).0), (91, 91));
        assert_eq!((buffer.len(), used(&budget).0), (0, 91));
        drop(taken);
        assert_eq!(used(&budget), (0, 0));
    }
}
