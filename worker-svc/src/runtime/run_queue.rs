//! The order in which guests that compute for long get time slices.
//!
//! Modules share the CPU, not guests: the next slice belongs to the module that has used the least CPU time, as in
//! start-time fair queueing, whether one guest of it waits or fifty. Within a module, guests alternate.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// The guests that wait for time slices, by module.
#[derive(Debug)]
pub(super) struct RunQueue<T> {
    modules: HashMap<Arc<str>, Module<T>>,
    /// What the module had used that got the latest slice. A module that begins to wait starts there: it neither
    /// gets what it has not used before, nor does it wait until the others have had as much.
    now: Duration,
    /// What a guest is expected to use in a slice that has not ended yet.
    slice: Duration,
    arrivals: u64,
}

#[derive(Debug)]
struct Module<T> {
    used: Duration,
    /// The number of guests that have a slice.
    running: u32,
    waiting: VecDeque<Waiting<T>>,
}

#[derive(Debug)]
struct Waiting<T> {
    guest: T,
    /// The CPU time that it has used outside of slices.
    unpaid: Duration,
    arrival: u64,
}

impl<T> RunQueue<T> {
    /// An empty queue for slices of this length.
    pub(super) fn new(slice: Duration) -> Self {
        Self { modules: HashMap::new(), now: Duration::ZERO, slice, arrivals: 0 }
    }

    /// Adds a guest of `module` that has used the CPU for `unpaid` outside of slices.
    pub(super) fn push(&mut self, module: &Arc<str>, guest: T, unpaid: Duration) {
        let now = self.now;
        let begin = || Module { used: now, running: 0, waiting: VecDeque::new() };
        let module = self.modules.entry(Arc::clone(module)).or_insert_with(begin);
        if module.is_idle() {
            module.used = module.used.max(now);
        }
        self.arrivals += 1;
        module.waiting.push_back(Waiting { guest, unpaid, arrival: self.arrivals });
    }

    /// Takes out the guest that gets the next slice. It has it until [`Self::ended`] is called.
    pub(super) fn pop(&mut self) -> Option<(Arc<str>, T)> {
        let slice = self.slice;
        let expected = |module: &Module<T>| module.used + slice * module.running;
        let next = self.modules.iter().filter_map(|(name, module)| {
            let first = module.waiting.front()?;
            Some((expected(module), first.arrival, name))
        });
        let name = Arc::clone(next.min().map(|(_, _, name)| name)?);
        let module = self.modules.get_mut(&name)?;
        let next = module.waiting.pop_front()?;
        self.now = self.now.max(module.used);
        module.used += next.unpaid;
        module.running += 1;
        Some((name, next.guest))
    }

    /// The slice of a guest of `module` has ended, in which it has used the CPU for `used`.
    pub(super) fn ended(&mut self, module: &str, used: Duration) {
        if let Some(module) = self.modules.get_mut(module) {
            module.running -= 1;
            module.used += used;
        }
        if self.modules.values().all(Module::is_idle) {
            self.modules.clear();
            self.now = Duration::ZERO;
        }
        let now = self.now;
        self.modules.retain(|_, module| !module.is_idle() || module.used > now);
    }

    /// Whether guests of `module` have slices or wait for them.
    pub(super) fn has(&self, module: &str) -> bool {
        self.modules.get(module).is_some_and(|module| !module.is_idle())
    }
}

impl<T> Module<T> {
    fn is_idle(&self) -> bool {
        self.running == 0 && self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A module, the number of its guests, the slice before which they arrive, and the CPU time in milliseconds that
    /// each of them uses in a slice.
    type Group = (&'static str, usize, usize, u64);

    /// The modules that get the first slices, on this many threads, if all guests compute forever.
    fn order(threads: usize, slices: usize, groups: &[Group]) -> String {
        let mut queue = RunQueue::new(Duration::from_millis(1));
        let (mut order, mut running) = (String::new(), VecDeque::new());
        for slice in 0..slices {
            for &(module, guests, _, used) in groups.iter().filter(|group| group.2 == slice) {
                (0..guests).for_each(|_| queue.push(&module.into(), used, Duration::ZERO));
            }
            if running.len() == threads {
                let (module, used): (Arc<str>, u64) = running.pop_front().expect("a running guest");
                queue.ended(&module, Duration::from_millis(used));
                queue.push(&module, used, Duration::ZERO);
            }
            let (module, used) = queue.pop().expect("a waiting guest");
            order.push_str(&module);
            running.push_back((module, used));
        }
        order
    }

    #[test]
    fn modules_alternate_not_guests() {
        let cases: [(usize, &[Group], &str); 8] = [
            (1, &[("a", 3, 0, 1)], "aaaaaaaa"),
            (1, &[("a", 50, 0, 1), ("b", 1, 0, 1)], "abababab"),
            (1, &[("a", 50, 0, 1), ("b", 2, 0, 1), ("c", 1, 0, 1)], "abcabcab"),
            // One that comes later goes first, but does not catch up.
            (1, &[("a", 50, 0, 1), ("b", 1, 4, 1)], "aaaabababa"),
            (2, &[("a", 50, 0, 1), ("b", 1, 4, 1)], "aaaababababa"),
            (2, &[("a", 50, 0, 1), ("b", 50, 0, 1)], "abababab"),
            // What counts is the CPU time.
            (1, &[("a", 50, 0, 2), ("b", 1, 0, 1)], "abbabbab"),
            // A module has only one guest: the other thread is for others.
            (3, &[("a", 50, 0, 1), ("b", 1, 3, 1)], "aaabaabaab"),
        ];
        for (threads, groups, expected) in cases {
            assert_eq!(order(threads, expected.len(), groups), expected, "{threads} threads, {groups:?}");
        }
    }

    #[test]
    fn guests_of_a_module_alternate() {
        let (mut queue, module) = (RunQueue::new(Duration::from_millis(1)), Arc::from("a"));
        (0..3).for_each(|guest| queue.push(&module, guest, Duration::ZERO));
        for expected in [0, 1, 2, 0, 1] {
            let (_, guest) = queue.pop().expect("a guest");
            assert_eq!(guest, expected);
            queue.ended("a", Duration::from_millis(1));
            queue.push(&module, guest, Duration::ZERO);
        }
    }

    #[test]
    fn time_outside_of_slices_is_paid_for_with_the_first_slice() {
        let mut queue = RunQueue::new(Duration::from_millis(1));
        let (a, b) = (Arc::from("a"), Arc::from("b"));
        (0..2).for_each(|_| queue.push(&a, (), Duration::from_millis(2)));
        (0..5).for_each(|_| queue.push(&b, (), Duration::ZERO));
        let mut next = || {
            let (module, ()) = queue.pop().expect("a guest");
            queue.ended(&module, Duration::from_millis(1));
            module.to_string()
        };
        assert_eq!([(); 7].map(|()| next()).concat(), "abbbabb");
    }

    #[test]
    fn modules_without_guests_are_forgotten() {
        let mut queue = RunQueue::new(Duration::from_millis(1));
        for spinners in [0, 2] {
            (0..spinners).for_each(|_| queue.push(&"spinner".into(), (), Duration::ZERO));
            for number in 0..100 {
                queue.push(&number.to_string().into(), (), Duration::ZERO);
                for _ in 0..=spinners {
                    let (module, ()) = queue.pop().expect("a guest");
                    assert!(queue.has(&module));
                    queue.ended(&module, Duration::from_millis(1));
                    if &*module == "spinner" {
                        queue.push(&module, (), Duration::ZERO);
                    }
                }
                assert!(!queue.has(&number.to_string()));
            }
            assert!(queue.modules.len() <= 3, "{:?}", queue.modules);
        }
    }
}
