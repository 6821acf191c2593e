//! The results that a delivery task has read from the outbox and not yet delivered.

use std::collections::{HashSet, VecDeque};

use tokio::time::Instant;

use super::settlement::{is_too_old, not_due};
use crate::kinds::Batch;
use crate::outbox::{PageLimits, Pending};

/// The limits of one page.
pub(super) const PAGE: PageLimits = PageLimits { rows: 1000, bytes: 8 << 20 };
/// Below this, there is room for another page.
const LOW: PageLimits = PageLimits { rows: 500, bytes: 4 << 20 };

/// A queued result.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) row: Pending,
    /// When a request with this result last got no answer.
    pub(super) unanswered_at: Option<Instant>,
}

/// The queued results of one binding.
#[derive(Debug)]
pub(super) struct Queue {
    is_ordered: bool,
    waiting: VecDeque<Waiting>,
    waiting_bytes: i64,
    /// The results that are queued or in flight, so that they are not queued again.
    known: HashSet<i64>,
    is_being_read: bool,
    /// The results that were released since the read began, which may still return them.
    released_during_read: Vec<i64>,
}

impl Queue {
    pub(super) fn new(is_ordered: bool) -> Self {
        Self {
            is_ordered,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            known: HashSet::new(),
            is_being_read: false,
            released_during_read: Vec::new(),
        }
    }

    /// Whether another page fits.
    pub(super) fn has_room(&self) -> bool {
        self.waiting.len() < LOW.rows && self.waiting_bytes < LOW.bytes
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// A read of the outbox begins.
    pub(super) fn begin_read(&mut self) {
        self.is_being_read = true;
    }

    /// Queues the rows that are not known yet.
    pub(super) fn end_read(&mut self, rows: Vec<Pending>) {
        for row in rows {
            if self.known.insert(row.seq) {
                self.push_back(Waiting { row, unanswered_at: None });
            }
        }
        self.is_being_read = false;
        let released = std::mem::take(&mut self.released_during_read);
        self.release(released);
        if self.is_ordered {
            // A redriven result has its old place.
            self.waiting.make_contiguous().sort_by_key(|waiting| waiting.row.seq);
        }
    }

    /// Whether the next batch may be sent.
    pub(super) fn is_due(&self, now_ms: i64) -> bool {
        self.waiting
            .front()
            .is_some_and(|waiting| !self.is_ordered || !not_due(now_ms).contains(&waiting.row.due_at_ms))
    }

    /// Takes the next batch.
    pub(super) fn next_batch(&mut self, batch: Batch) -> Vec<Waiting> {
        let rows = if self.is_ordered { 1 } else { batch.rows };
        let (mut taken, mut bytes) = (Vec::new(), 0_usize);
        while taken.len() < rows
            && let Some(next) = self.waiting.front()
        {
            bytes = bytes.saturating_add(next.row.result.len());
            if !taken.is_empty() && bytes > batch.bytes {
                break;
            }
            taken.extend(self.pop_front());
        }
        taken
    }

    /// Puts back results that were not delivered. If ordered, they keep their places; otherwise others are
    /// tried first.
    pub(super) fn put_back(&mut self, rows: Vec<Waiting>) {
        if self.is_ordered {
            for waiting in rows {
                // A redriven result may have been queued before them in the meantime.
                let place = self.waiting.partition_point(|other| other.row.seq < waiting.row.seq);
                self.waiting_bytes += size(&waiting);
                self.waiting.insert(place, waiting);
            }
        } else {
            rows.into_iter().for_each(|waiting| self.push_back(waiting));
        }
    }

    /// Drops the queued results, so that they are read again.
    pub(super) fn clear(&mut self) {
        self.waiting_bytes = 0;
        let dropped = std::mem::take(&mut self.waiting);
        self.release(dropped.into_iter().map(|waiting| waiting.row.seq));
    }

    /// Releases results that are settled, or that are read again when they are due.
    pub(super) fn release(&mut self, seqs: impl IntoIterator<Item = i64>) {
        for seq in seqs {
            if self.is_being_read {
                self.released_during_read.push(seq);
            } else {
                self.known.remove(&seq);
            }
        }
    }

    /// Takes the results that wait since before `oldest_ms`. They stay known until they are released.
    pub(super) fn take_too_old(&mut self, oldest_ms: i64) -> Vec<Waiting> {
        if !self.waiting.iter().any(|waiting| is_too_old(&waiting.row, oldest_ms)) {
            return Vec::new();
        }
        let (old, kept): (Vec<_>, Vec<_>) =
            self.waiting.drain(..).partition(|waiting| is_too_old(&waiting.row, oldest_ms));
        self.waiting = kept.into();
        self.waiting_bytes = self.waiting.iter().map(size).sum();
        old
    }

    fn push_back(&mut self, waiting: Waiting) {
        self.waiting_bytes += size(&waiting);
        self.waiting.push_back(waiting);
    }

    fn pop_front(&mut self) -> Option<Waiting> {
        let waiting = self.waiting.pop_front()?;
        self.waiting_bytes -= size(&waiting);
        Some(waiting)
    }
}

fn size(waiting: &Waiting) -> i64 {
    i64::try_from(waiting.row.result.len()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn row(seq: i64, bytes: usize) -> Pending {
        Pending {
            seq,
            invocation_id: seq.to_string(),
            attempts: 0,
            due_at_ms: 0,
            received_at_ms: seq,
            last_error: String::new(),
            result: Bytes::from(vec![b'1'; bytes]),
            trace: None,
        }
    }

    fn seqs(rows: &[Waiting]) -> Vec<i64> {
        rows.iter().map(|waiting| waiting.row.seq).collect()
    }

    const BATCH: Batch = Batch { rows: 2, bytes: 10, in_flight: 1 };

    #[test]
    fn batches_are_bounded_by_rows_and_by_bytes() {
        let mut queue = Queue::new(false);
        queue.end_read(vec![row(1, 5), row(2, 5), row(3, 8), row(4, 8), row(5, 99), row(6, 1)]);
        let batches: Vec<_> = std::iter::repeat_with(|| seqs(&queue.next_batch(BATCH)))
            .take_while(|batch| !batch.is_empty())
            .collect();
        assert_eq!(batches, [vec![1, 2], vec![3], vec![4], vec![5], vec![6]]);
        assert_eq!(queue.waiting_bytes, 0);
    }

    #[test]
    fn known_results_are_not_queued_again() {
        let mut queue = Queue::new(false);
        queue.end_read(vec![row(1, 1), row(2, 1)]);
        let batch = queue.next_batch(BATCH);
        queue.end_read(vec![row(1, 1), row(2, 1), row(3, 1)]);
        assert_eq!(seqs(&queue.next_batch(BATCH)), [3]);
        queue.put_back(batch);
        queue.release([3]);
        queue.end_read(vec![row(3, 1)]);
        assert_eq!(seqs(&queue.next_batch(BATCH)), [1, 2]);
        assert_eq!(seqs(&queue.next_batch(BATCH)), [3]);
    }

    #[test]
    fn results_released_during_a_read_are_not_queued() {
        let mut queue = Queue::new(false);
        queue.end_read(vec![row(1, 1)]);
        let batch = queue.next_batch(BATCH);
        queue.begin_read();
        queue.release(seqs(&batch));
        queue.end_read(vec![row(1, 1)]);
        assert!(queue.is_empty());
        queue.end_read(vec![row(1, 1)]);
        assert_eq!(seqs(&queue.next_batch(BATCH)), [1], "a postponed result is queued again");
    }

    #[test]
    fn in_order_the_first_blocks_the_others() {
        let mut queue = Queue::new(true);
        queue.end_read(vec![row(2, 1), row(3, 1)]);
        queue.end_read(vec![row(1, 1)]);
        let mut batch = queue.next_batch(BATCH);
        assert_eq!(seqs(&batch), [1], "one at a time");
        batch[0].row.due_at_ms = 100;
        queue.put_back(batch);
        assert!(!queue.is_due(99) && queue.is_due(100));
        assert_eq!(seqs(&queue.next_batch(BATCH)), [1]);
    }

    #[test]
    fn in_order_a_result_keeps_its_place() {
        let mut queue = Queue::new(true);
        queue.end_read(vec![row(2, 1), row(3, 1)]);
        let batch = queue.next_batch(BATCH);
        // Redriven while the other was in flight.
        queue.end_read(vec![row(1, 1)]);
        queue.put_back(batch);
        let order: Vec<_> = (0..3).flat_map(|_| seqs(&queue.next_batch(BATCH))).collect();
        assert_eq!(order, [1, 2, 3]);
    }

    #[test]
    fn dropped_results_are_queued_again() {
        let mut queue = Queue::new(true);
        queue.end_read(vec![row(1, 1), row(2, 1)]);
        let in_flight = queue.next_batch(BATCH);
        queue.clear();
        assert_eq!((queue.is_empty(), queue.waiting_bytes), (true, 0));
        queue.end_read(vec![row(1, 1), row(2, 1)]);
        assert_eq!(seqs(&queue.next_batch(BATCH)), [2], "not the result in flight");
        queue.put_back(in_flight);
        assert_eq!(seqs(&queue.next_batch(BATCH)), [1]);
    }

    #[test]
    fn old_results_are_taken() {
        let mut queue = Queue::new(false);
        queue.end_read(vec![row(1, 1), row(500, 1), row(2, 1)]);
        assert_eq!(seqs(&queue.take_too_old(3)), [1, 2]);
        assert_eq!(seqs(&queue.next_batch(BATCH)), [500]);
    }
}
