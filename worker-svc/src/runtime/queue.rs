//! Turns for work on code: what somebody waits for goes first, and subjects take turns.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};

/// Who wants some code, and whether somebody waits for it.
#[derive(Debug)]
pub(crate) struct Demand {
    subject: String,
    awaited: AtomicBool,
}

impl Demand {
    /// Code of this subject that a call or the creation of a function waits for.
    pub(crate) fn awaited(subject: &str) -> Arc<Self> {
        Arc::new(Self { subject: subject.to_owned(), awaited: true.into() })
    }

    /// Code of this subject that is prepared in the background.
    pub(crate) fn background(subject: &str) -> Arc<Self> {
        Arc::new(Self { subject: subject.to_owned(), awaited: false.into() })
    }

    /// Somebody waits for it now.
    pub(crate) fn await_it(&self) {
        self.awaited.store(true, Ordering::Relaxed);
    }

    /// Whether somebody waits for it.
    pub(crate) fn is_awaited(&self) -> bool {
        self.awaited.load(Ordering::Relaxed)
    }
}

/// A queue for a number of slots. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct FairQueue(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    state: Mutex<State>,
    /// Notified when somebody begins to wait.
    waits: Notify,
}

impl FairQueue {
    pub(super) fn new(slots: usize) -> Self {
        let state = State { free: slots, ..State::default() };
        Self(Arc::new(Shared { state: Mutex::new(state), waits: Notify::new() }))
    }

    /// Waits for a slot. Whoever drops this future no longer waits.
    pub(super) async fn acquire(&self, demand: &Arc<Demand>) -> Slot {
        let (granted, receiver) = oneshot::channel();
        let slot = {
            let mut state = self.0.state.lock();
            let id = state.wait(Arc::clone(demand), granted);
            state.grant();
            Slot { shared: Arc::clone(&self.0), id, demand: Arc::clone(demand) }
        };
        self.0.waits.notify_waiters();
        // The sender is in the queue until it is used, and `slot` is what takes it out.
        let _ = receiver.await;
        slot
    }

    /// How many wait for a slot: those that somebody waits for, and the others.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let state = self.0.state.lock();
        let awaited = state.waiting.iter().filter(|waiter| waiter.demand.is_awaited()).count();
        (awaited, state.waiting.len() - awaited)
    }

    /// Ends when somebody waits for a slot.
    pub(super) async fn contended(&self) {
        loop {
            let begins = self.0.waits.notified();
            if !self.0.state.lock().waiting.is_empty() {
                return;
            }
            begins.await;
        }
    }
}

/// A place in the queue, and then a slot, until this is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    shared: Arc<Shared>,
    id: u64,
    demand: Arc<Demand>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut state = self.shared.state.lock();
        if !state.leave(self.id) {
            state.release(&self.demand.subject);
        }
        state.grant();
    }
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// In the order of their arrival.
    waiting: Vec<Waiter>,
    /// Those that have slots or wait.
    subjects: HashMap<String, Turns>,
    arrivals: u64,
    grants: u64,
}

#[derive(Debug)]
struct Waiter {
    id: u64,
    demand: Arc<Demand>,
    granted: oneshot::Sender<()>,
}

/// The turns of one subject.
#[derive(Debug, Default)]
struct Turns {
    waiting: usize,
    running: usize,
    /// When it last got a slot. 0: not yet.
    last: u64,
}

impl State {
    fn wait(&mut self, demand: Arc<Demand>, granted: oneshot::Sender<()>) -> u64 {
        self.arrivals += 1;
        self.subjects.entry(demand.subject.clone()).or_default().waiting += 1;
        self.waiting.push(Waiter { id: self.arrivals, demand, granted });
        self.arrivals
    }

    /// Grants free slots to those whose turn it is.
    fn grant(&mut self) {
        while self.free > 0
            && let Some(position) = self.next()
        {
            let Waiter { demand, granted, .. } = self.waiting.remove(position);
            self.free -= 1;
            self.grants += 1;
            let turns = self.subjects.entry(demand.subject.clone()).or_default();
            turns.waiting -= 1;
            turns.running += 1;
            turns.last = self.grants;
            // If it no longer waits, its slot is about to be dropped.
            let _ = granted.send(());
        }
    }

    /// Whose turn it is: what somebody waits for, of the subject with the fewest slots, and among these of the
    /// one whose last turn is the longest ago; the first that came.
    fn next(&self) -> Option<usize> {
        let rank = |waiter: &Waiter| {
            let turns = self.subjects.get(&waiter.demand.subject);
            let (running, last) = turns.map_or((0, 0), |turns| (turns.running, turns.last));
            (!waiter.demand.is_awaited(), running, last, waiter.id)
        };
        let ranked = self.waiting.iter().enumerate().min_by_key(|(_, waiter)| rank(waiter));
        ranked.map(|(position, _)| position)
    }

    /// Whether it was still waiting.
    fn leave(&mut self, id: u64) -> bool {
        let Some(position) = self.waiting.iter().position(|waiter| waiter.id == id) else { return false };
        let waiter = self.waiting.remove(position);
        self.change(&waiter.demand.subject, |turns| turns.waiting -= 1);
        true
    }

    fn release(&mut self, subject: &str) {
        self.free += 1;
        self.change(subject, |turns| turns.running -= 1);
    }

    fn change(&mut self, subject: &str, change: impl FnOnce(&mut Turns)) {
        if let Some(turns) = self.subjects.get_mut(subject) {
            change(turns);
            if turns.waiting + turns.running == 0 {
                self.subjects.remove(subject);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures::FutureExt as _;

    use super::*;

    /// The order in which a queue with `slots` serves what waits, each `subject` or `(subject)` in the background,
    /// when the oldest slot is always released first.
    fn order(slots: usize, waiting: &str) -> String {
        let mut state = State { free: slots, ..State::default() };
        // What runs at first, before all of these came.
        let first: Vec<_> = (0..slots).map(|n| Demand::awaited(&format!("first {n}"))).collect();
        for demand in &first {
            state.wait(Arc::clone(demand), oneshot::channel().0);
            state.grant();
        }
        let demands: Vec<_> = waiting
            .split(' ')
            .map(|word| match word.strip_prefix('(').and_then(|word| word.strip_suffix(')')) {
                Some(name) => (name, Demand::background(&name[..1])),
                None => (word, Demand::awaited(&word[..1])),
            })
            .collect();
        let ids: HashMap<u64, _> = demands
            .iter()
            .map(|(name, demand)| (state.wait(Arc::clone(demand), oneshot::channel().0), (*name, demand)))
            .collect();
        let mut running: std::collections::VecDeque<_> = first.iter().collect();
        let mut served = Vec::new();
        while let Some(demand) = running.pop_front() {
            let before: Vec<_> = state.waiting.iter().map(|waiter| waiter.id).collect();
            state.release(&demand.subject);
            state.grant();
            for id in before {
                if state.waiting.iter().all(|waiter| waiter.id != id) {
                    served.push(ids[&id].0);
                    running.push_back(ids[&id].1);
                }
            }
        }
        assert!(state.subjects.is_empty() && state.free == slots, "{state:?}");
        served.join(" ")
    }

    #[test]
    fn whose_turn_it_is() {
        let cases = [
            (1, "a1 a2 a3", "a1 a2 a3"),
            (1, "a1 a2 a3 b1 c1", "a1 b1 c1 a2 a3"),
            (1, "a1 a2 b1 b2", "a1 b1 a2 b2"),
            (1, "(a1) (a2) b1", "b1 (a1) (a2)"),
            (1, "(a1) (b1) a2 a3 c1", "a2 c1 a3 (b1) (a1)"),
            (2, "a1 a2 a3 b1 b2", "a1 b1 a2 b2 a3"),
            (2, "(a1) (a2) (a3) b1", "b1 (a1) (a2) (a3)"),
        ];
        for (slots, waiting, expected) in cases {
            let expected = expected.replace(['(', ')'], "");
            assert_eq!(order(slots, waiting), expected, "{slots} slots for {waiting}");
        }
    }

    #[test]
    fn what_somebody_begins_to_wait_for_goes_first() {
        let queue = FairQueue::new(1);
        let [first, second] = [Demand::background("a"), Demand::background("b")];
        let slot = queue.acquire(&first).now_or_never().expect("it is free");
        let mut one = pin!(queue.acquire(&first));
        let mut other = pin!(queue.acquire(&second));
        assert!(one.as_mut().now_or_never().is_none() && other.as_mut().now_or_never().is_none());
        first.await_it();
        drop(slot);
        assert!(other.as_mut().now_or_never().is_none());
        assert!(one.now_or_never().is_some());
        assert!(other.now_or_never().is_some());
    }

    #[test]
    fn whoever_leaves_holds_up_nobody() {
        let queue = FairQueue::new(1);
        let demand = Demand::awaited("a");
        let slot = queue.acquire(&demand).now_or_never().expect("it is free");
        {
            let mut waits = pin!(queue.acquire(&demand));
            assert!(waits.as_mut().now_or_never().is_none());
            assert!(queue.contended().now_or_never().is_some());
            assert_eq!(queue.waiting(), (1, 0));
        }
        assert!(queue.contended().now_or_never().is_none(), "it has left while it waited");
        {
            let mut granted = pin!(queue.acquire(&demand));
            assert!(granted.as_mut().now_or_never().is_none());
            drop(slot);
        }
        assert!(queue.acquire(&demand).now_or_never().is_some(), "it has left with a slot that it never saw");
    }
}
