//! The invocations that are running, counted exactly by scheduler and tag.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::scheduler::v1::RunningWork;

/// The running invocations, by scheduler and by the tag of their function. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub(crate) struct RunningInvocations(Arc<Mutex<HashMap<Arc<InvocationKey>, Count>>>);

/// Invocations with the same key are counted together.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct InvocationKey {
    pub(crate) scheduler_id: String,
    pub(crate) tag: String,
}

#[derive(Debug, Default)]
struct Count {
    running: u32,
    /// Wide enough for any sum of capacities.
    capacity_kb: u128,
}

impl RunningInvocations {
    /// Counts one invocation until the guard is dropped.
    pub(crate) fn begin(&self, key: InvocationKey, capacity_kb: u64) -> RunningGuard {
        let key = Arc::new(key);
        let mut counts = self.0.lock();
        let count = counts.entry(Arc::clone(&key)).or_default();
        count.running += 1;
        count.capacity_kb += u128::from(capacity_kb);
        drop(counts);
        RunningGuard { running: self.clone(), key, capacity_kb }
    }

    /// What is running now, one entry for each scheduler and tag.
    pub(crate) fn snapshot(&self) -> Vec<RunningWork> {
        let counts = self.0.lock();
        let entries = counts.iter().map(|(key, count)| RunningWork {
            scheduler_id: key.scheduler_id.clone(),
            tag: key.tag.clone(),
            running: count.running,
            capacity_kb: u64::try_from(count.capacity_kb).unwrap_or(u64::MAX),
        });
        entries.collect()
    }
}

/// One running invocation.
#[derive(Debug)]
pub(crate) struct RunningGuard {
    running: RunningInvocations,
    key: Arc<InvocationKey>,
    capacity_kb: u64,
}

impl Drop for RunningGuard {
    fn drop(&mut self) {
        let mut counts = self.running.0.lock();
        // An entry exists as long as it counts an invocation.
        let Entry::Occupied(mut entry) = counts.entry(Arc::clone(&self.key)) else { return };
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

    fn key(scheduler_id: &str, tag: &str) -> InvocationKey {
        InvocationKey { scheduler_id: scheduler_id.into(), tag: tag.into() }
    }

    /// What is running: scheduler, tag, count, capacity.
    fn snapshot(running: &RunningInvocations) -> Vec<(String, String, u32, u64)> {
        let mut snapshot: Vec<_> = running
            .snapshot()
            .into_iter()
            .map(|work| (work.scheduler_id, work.tag, work.running, work.capacity_kb))
            .collect();
        snapshot.sort();
        snapshot
    }

    #[test]
    fn each_key_is_counted_until_its_invocations_end() {
        let running = RunningInvocations::default();
        let first = running.begin(key("s", "t"), 64);
        let second = running.begin(key("s", "t"), 100);
        let other = running.begin(key("r", ""), 1);
        assert_eq!(snapshot(&running), [("r".into(), String::new(), 1, 1), ("s".into(), "t".into(), 2, 164)]);
        drop(first);
        drop(other);
        assert_eq!(snapshot(&running), [("s".into(), "t".into(), 1, 100)]);
        drop(second);
        assert!(running.0.lock().is_empty());
    }

    #[test]
    fn any_sum_of_capacities_is_counted() {
        let running = RunningInvocations::default();
        let huge = [(); 2].map(|()| running.begin(key("s", "t"), u64::MAX));
        let small = running.begin(key("s", "t"), 7);
        assert_eq!(snapshot(&running), [("s".into(), "t".into(), 3, u64::MAX)]);
        drop(huge);
        assert_eq!(snapshot(&running), [("s".into(), "t".into(), 1, 7)]);
        drop(small);
    }

    #[test]
    fn counts_are_exact_under_concurrency() {
        const THREADS: u32 = 8;
        let running = RunningInvocations::default();
        let still_running = std::thread::scope(|threads| {
            let counting = (0..THREADS).map(|thread| {
                let running = &running;
                threads.spawn(move || {
                    let tag = ["a", "b"][thread as usize % 2];
                    (0..1000).for_each(|_| drop(running.begin(key("s", tag), 3)));
                    running.begin(key("s", tag), 5)
                })
            });
            let counting: Vec<_> = counting.collect();
            counting.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Vec<_>>()
        });
        assert_eq!(snapshot(&running), [("s".into(), "a".into(), 4, 20), ("s".into(), "b".into(), 4, 20)]);
        drop(still_running);
        assert!(running.0.lock().is_empty());
    }
}
