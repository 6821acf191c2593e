//! What runs now: whose it is and what it is, counted exactly.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::scheduler::v1::RunningWork;

/// The invocations that run, by who sent them and by their function's tag. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct Work(Arc<Mutex<HashMap<Arc<Kind>, Count>>>);

/// What invocations have in common that are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Kind {
    pub(crate) scheduler_id: String,
    pub(crate) tag: String,
}

#[derive(Debug, Default)]
struct Count {
    running: u32,
    /// Wide enough for the sum of any capacities.
    capacity_kb: u128,
}

impl Work {
    /// Counts one invocation until what is returned is dropped.
    pub(crate) fn begin(&self, kind: Kind, capacity_kb: u64) -> Counted {
        let kind = Arc::new(kind);
        let mut work = self.0.lock();
        let count = work.entry(Arc::clone(&kind)).or_default();
        count.running += 1;
        count.capacity_kb += u128::from(capacity_kb);
        drop(work);
        Counted { work: self.clone(), kind, capacity_kb }
    }

    /// All that runs at this moment, one entry for each scheduler and tag.
    pub(crate) fn now(&self) -> Vec<RunningWork> {
        let work = self.0.lock();
        let entries = work.iter().map(|(kind, count)| RunningWork {
            scheduler_id: kind.scheduler_id.clone(),
            tag: kind.tag.clone(),
            running: count.running,
            capacity_kb: u64::try_from(count.capacity_kb).unwrap_or(u64::MAX),
        });
        entries.collect()
    }
}

/// One invocation that runs.
#[derive(Debug)]
pub(crate) struct Counted {
    work: Work,
    kind: Arc<Kind>,
    capacity_kb: u64,
}

impl Drop for Counted {
    fn drop(&mut self) {
        let mut work = self.work.0.lock();
        // It is there as long as something is counted in it.
        let Entry::Occupied(mut entry) = work.entry(Arc::clone(&self.kind)) else { return };
        let count = entry.get_mut();
        count.running -= 1;
        count.capacity_kb -= u128::from(self.capacity_kb);
        if count.running == 0 {
            entry.remove();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(scheduler_id: &str, tag: &str) -> Kind {
        Kind { scheduler_id: scheduler_id.into(), tag: tag.into() }
    }

    /// What runs: scheduler, tag, how many, how much.
    fn now(work: &Work) -> Vec<(String, String, u32, u64)> {
        let mut now: Vec<_> = work
            .now()
            .into_iter()
            .map(|work| (work.scheduler_id, work.tag, work.running, work.capacity_kb))
            .collect();
        now.sort();
        now
    }

    #[test]
    fn each_kind_is_counted_and_forgotten_at_its_end() {
        let work = Work::default();
        let first = work.begin(kind("s", "t"), 64);
        let second = work.begin(kind("s", "t"), 100);
        let other = work.begin(kind("r", ""), 1);
        assert_eq!(now(&work), [("r".into(), String::new(), 1, 1), ("s".into(), "t".into(), 2, 164)]);
        drop(first);
        drop(other);
        assert_eq!(now(&work), [("s".into(), "t".into(), 1, 100)]);
        drop(second);
        assert!(work.0.lock().is_empty());
    }

    #[test]
    fn no_capacity_is_too_large_to_be_counted() {
        let work = Work::default();
        let huge = [(); 2].map(|()| work.begin(kind("s", "t"), u64::MAX));
        let small = work.begin(kind("s", "t"), 7);
        assert_eq!(now(&work), [("s".into(), "t".into(), 3, u64::MAX)]);
        drop(huge);
        assert_eq!(now(&work), [("s".into(), "t".into(), 1, 7)]);
        drop(small);
    }

    #[test]
    fn counts_are_exact_whoever_counts_at_once() {
        const THREADS: u32 = 8;
        let work = Work::default();
        let kept = std::thread::scope(|threads| {
            let counting = (0..THREADS).map(|thread| {
                let work = &work;
                threads.spawn(move || {
                    let tag = ["a", "b"][thread as usize % 2];
                    (0..1000).for_each(|_| drop(work.begin(kind("s", tag), 3)));
                    work.begin(kind("s", tag), 5)
                })
            });
            let counting: Vec<_> = counting.collect();
            counting.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert_eq!(now(&work), [("s".into(), "a".into(), 4, 20), ("s".into(), "b".into(), 4, 20)]);
        drop(kept);
        assert!(work.0.lock().is_empty());
    }
}
