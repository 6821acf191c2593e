//! Fair use of the CPU by guests that compute for long.
//!
//! Guests run on the threads that also serve calls. A guest that ends within a tick is never slowed down.
//! One that runs on gets time slices of one tick, which modules share fairly. No more of these guests run at once
//! than there are threads, and between two slices a thread handles the network. While there are invocations of modules
//! that do not compute for long, one thread is left to them. So a thousand spinning guests delay a call of another
//! module by a tick or two, not by a thousand.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use mesh::fair_limit::FairLimit;
use parking_lot::Mutex;
use prometheus::Counter;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::oneshot;
use wasmtime::{Store, UpdateDeadline};

use super::run_queue::RunQueue;
use super::ticker;

/// Ticks that a guest runs before it gets time slices. The first tick may end at once.
const FREE_TICKS: u64 = 2;
/// So many bytes are much work for the host.
pub(super) const MUCH_WORK_BYTES: usize = 64 << 10;
/// For how long a thread is left to the modules that do not compute for long, after an invocation of one was seen.
const LEFT_TO_OTHERS: Duration = Duration::from_secs(1);

/// The time slices of all guests.
#[derive(Debug)]
pub(super) struct TimeSlices(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// How many guests that compute for long may do so at once.
    concurrency: usize,
    /// The permits of all running invocations.
    permits: FairLimit,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    queue: RunQueue<oneshot::Sender<Slice>>,
    /// The number of slices that are given out.
    running: usize,
    others_seen: Option<Instant>,
}

/// The right to compute for a while, until it is dropped.
#[derive(Debug)]
struct Slice {
    /// None: it was not given out.
    shared: Option<Arc<Shared>>,
    module: Arc<str>,
    used: Duration,
}

/// The CPU time that a guest has used so far. Added to a counter when it is dropped, also if the caller has
/// abandoned the invocation.
#[derive(Debug)]
pub(super) struct CpuUsage {
    pub(super) cpu: Duration,
    /// The wait for time slices.
    pub(super) waiting: Duration,
    total: Counter,
}

/// Whether a guest's time slice is over.
#[derive(Debug, Clone, Default)]
pub(super) struct SliceEnd(Arc<AtomicBool>);

impl CpuUsage {
    /// Counts in seconds in `total`.
    pub(super) fn new(total: Counter) -> Self {
        Self { cpu: Duration::ZERO, waiting: Duration::ZERO, total }
    }
}

impl Drop for CpuUsage {
    fn drop(&mut self) {
        self.total.inc_by(self.cpu.as_secs_f64());
    }
}

impl SliceEnd {
    /// Makes the guest of `store` yield whenever its slice ends.
    pub(super) fn watch<T>(&self, store: &mut Store<T>) {
        let is_over = Arc::clone(&self.0);
        store.set_epoch_deadline(FREE_TICKS);
        store.epoch_deadline_callback(move |_| {
            is_over.store(true, Ordering::Relaxed);
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(yield_once())))
        });
    }

    /// Ends the slice before the host works on `bytes` bytes on behalf of the guest, if these are many.
    pub(super) async fn before_work_on(&self, bytes: usize) {
        if bytes < MUCH_WORK_BYTES {
            return;
        }
        self.0.store(true, Ordering::Relaxed);
        yield_once().await;
    }

    /// Whether the slice has ended since the last call.
    pub(super) fn take(&self) -> bool {
        self.0.swap(false, Ordering::Relaxed)
    }
}

/// Pends once, without a wake-up: whoever polls the guest knows when to poll it again.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|_| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl TimeSlices {
    /// Lets `concurrency` long-running guests compute at once. `permits` are those of all running invocations.
    pub(super) fn new(concurrency: usize, permits: FairLimit) -> Self {
        let state = State { queue: RunQueue::new(ticker::PERIOD), running: 0, others_seen: None };
        Self(Arc::new(Shared { concurrency, permits, state: Mutex::new(state) }))
    }

    /// Runs `guest`, a function of `module`, in time slices once it takes long. Updates `usage` while it runs, so that
    /// the usage of a guest that is stopped is known, too.
    pub(super) async fn run<F: Future>(
        &self,
        module: &Arc<str>,
        slice_end: &SliceEnd,
        usage: &mut CpuUsage,
        guest: F,
    ) -> F::Output {
        let mut guest = pin!(guest);
        let mut slice: Option<Slice> = None;
        let mut unpaid = Duration::ZERO;
        loop {
            let ended = poll_fn(|context| {
                let (polled, cpu) = measure_cpu(|| guest.as_mut().poll(context));
                usage.cpu += cpu;
                *slice.as_mut().map_or(&mut unpaid, |slice| &mut slice.used) += cpu;
                match polled {
                    Poll::Ready(output) => Poll::Ready(Some(output)),
                    Poll::Pending if slice_end.take() => Poll::Ready(None),
                    Poll::Pending => {
                        // It waits for something, such as an HTTP response: others may compute.
                        slice = None;
                        Poll::Pending
                    }
                }
            });
            if let Some(output) = ended.await {
                return output;
            }
            // First the thread handles the network, then the next guest gets its slice.
            let _timer = WaitTimer { since: Instant::now(), total: &mut usage.waiting };
            tokio::task::yield_now().await;
            slice = self.0.next_slice(slice.take(), module, std::mem::take(&mut unpaid)).await;
        }
    }
}

impl Shared {
    /// Ends a slice and waits for the next one for the same guest of `module`, which has used the CPU for `unpaid`
    /// without one.
    async fn next_slice(
        self: &Arc<Self>,
        last: Option<Slice>,
        module: &Arc<str>,
        unpaid: Duration,
    ) -> Option<Slice> {
        let (guest, given) = oneshot::channel();
        {
            let mut state = self.state.lock();
            // The guest waits before its slice goes to another: it may be its module's turn.
            state.queue.push(module, guest, unpaid);
            if let Some(mut last) = last {
                last.shared = None;
                state.ended(&last);
            }
            self.give(&mut state);
        }
        given.await.ok()
    }

    /// Gives slices to guests that wait, as many as may compute now.
    fn give(self: &Arc<Self>, state: &mut State) {
        let concurrency = self.concurrency_now(state);
        while state.running < concurrency {
            let Some((module, guest)) = state.queue.pop() else { return };
            let slice = Slice { shared: Some(Arc::clone(self)), module, used: Duration::ZERO };
            match guest.send(slice) {
                Ok(()) => state.running += 1,
                // The invocation was stopped while it waited.
                Err(mut slice) => {
                    slice.shared = None;
                    state.queue.ended(&slice.module, Duration::ZERO);
                }
            }
        }
    }

    /// How many guests may compute at once now.
    fn concurrency_now(&self, state: &mut State) -> usize {
        if self.concurrency == 1 {
            return 1;
        }
        let queue = &state.queue;
        if self.permits.is_held_by_others(|module| queue.has(module)) {
            state.others_seen = Some(Instant::now());
        }
        let others = state.others_seen.is_some_and(|seen| seen.elapsed() < LEFT_TO_OTHERS);
        self.concurrency - usize::from(others)
    }
}

impl State {
    fn ended(&mut self, slice: &Slice) {
        self.running -= 1;
        self.queue.ended(&slice.module, slice.used);
    }
}

impl Drop for Slice {
    fn drop(&mut self) {
        if let Some(shared) = self.shared.take() {
            let mut state = shared.state.lock();
            state.ended(self);
            shared.give(&mut state);
        }
    }
}

/// Adds the time until it is dropped to `total`.
struct WaitTimer<'a> {
    since: Instant,
    total: &'a mut Duration,
}

impl Drop for WaitTimer<'_> {
    fn drop(&mut self) {
        *self.total += self.since.elapsed();
    }
}

/// The outcome of `work`, which does not leave this thread, and the CPU time that it has used.
fn measure_cpu<T>(work: impl FnOnce() -> T) -> (T, Duration) {
    let before = thread_cpu();
    let done = work();
    (done, thread_cpu().saturating_sub(before))
}

/// The CPU time that this thread has used.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use tokio::task::LocalSet;

    use super::*;

    /// How much CPU time a spinning guest uses in each slice.
    const SLICE: Duration = Duration::from_micros(200);

    /// Notes its module in `log` for each of its slices, forever.
    async fn spin(slices: Rc<TimeSlices>, module: Arc<str>, log: Rc<Mutex<Vec<Arc<str>>>>) {
        let slice_end = SliceEnd::default();
        let is_over = Arc::clone(&slice_end.0);
        let guest = poll_fn(|_| {
            let start = thread_cpu();
            while thread_cpu() - start < SLICE {}
            log.lock().push(Arc::clone(&module));
            is_over.store(true, Ordering::Relaxed);
            Poll::<()>::Pending
        });
        let mut usage = CpuUsage::new(Counter::new("cpu", "CPU time.").expect("a counter"));
        slices.run(&module, &slice_end, &mut usage, guest).await;
    }

    /// Lets guests of these modules spin until `done` says so of the modules of all slices so far, and returns those.
    async fn slices(
        concurrency: usize,
        permits: FairLimit,
        guests: &[&str],
        done: impl Fn(&[Arc<str>]) -> bool,
    ) -> Vec<Arc<str>> {
        let (slices, log) = (Rc::new(TimeSlices::new(concurrency, permits)), Rc::default());
        let local = LocalSet::new();
        for module in guests {
            local.spawn_local(spin(Rc::clone(&slices), Arc::from(*module), Rc::clone(&log)));
        }
        local
            .run_until(async {
                while !done(&log.lock()) {
                    tokio::task::yield_now().await
                }
            })
            .await;
        drop(local);
        assert_eq!(slices.0.state.lock().running, 0, "stopped guests give their slices back");
        std::mem::take(&mut log.lock())
    }

    #[tokio::test]
    async fn fifty_spinning_guests_of_a_module_take_one_slice_in_turn_with_a_neighbour() {
        for concurrency in [1, 2] {
            let guests = [&["busy"; 50][..], &["neighbour"]].concat();
            let is_neighbour = |module: &Arc<str>| &**module == "neighbour";
            let done = |log: &[Arc<str>]| log.iter().filter(|module| is_neighbour(module)).count() == 40;
            let log = slices(concurrency, FairLimit::new(1, 100), &guests, done).await;
            // All begin without a slice, and pay for that later.
            let begun = &log[guests.len()..];
            let first = begun.iter().position(is_neighbour).expect("it got slices");
            let last = begun.iter().rposition(is_neighbour).expect("it got slices");
            let foreign = begun[first..last].iter().filter(|module| !is_neighbour(module)).count();
            // 38 turns, in each of which every core had one foreign slice, and a few more if the scales differ.
            assert!(foreign <= 45 * concurrency, "{foreign} foreign slices on {concurrency} cores");
        }
    }

    #[tokio::test]
    async fn a_thread_is_left_to_modules_that_do_not_compute_for_long() {
        let permits = FairLimit::new(10, 100);
        let slices = TimeSlices::new(2, permits.clone());
        let concurrency = || slices.0.concurrency_now(&mut slices.0.state.lock());
        let busy = Arc::from("busy");
        let _spinning = [permits.try_acquire(&busy), permits.try_acquire(&busy)];
        let held = slices.0.next_slice(None, &busy, Duration::ZERO).await;
        assert_eq!(concurrency(), 2, "nobody else is there");
        let short = permits.try_acquire("neighbour");
        assert_eq!(concurrency(), 1);
        drop(short);
        assert_eq!(concurrency(), 1, "others may come back");
        slices.0.state.lock().others_seen = Instant::now().checked_sub(LEFT_TO_OTHERS);
        assert_eq!(concurrency(), 2);
        drop(held);
    }
}
