//! Fair use of the CPU by guests that compute for long.
//!
//! Guests run on the threads that also serve calls. A guest that ends within a tick is never slowed down.
//! One that runs on gets time slices of one tick, alternating with the other long-running guests. No more
//! of these run at once than there are threads, and between two slices a thread handles the network. So a
//! thousand spinning guests delay a call by a few ticks, not by a thousand.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use prometheus::Counter;
use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;
use wasmtime::{Store, UpdateDeadline};

/// Ticks that a guest runs before it gets time slices. The first tick may end at once.
const FREE_TICKS: u64 = 2;

/// The time slices of all guests.
#[derive(Debug)]
pub(super) struct TimeSlices(Semaphore);

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
}

/// Pends once, without a wake-up: whoever polls the guest knows when to poll it again.
async fn yield_once() {
    let mut yielded = false;
    poll_fn(|_| if std::mem::replace(&mut yielded, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl TimeSlices {
    /// Lets `concurrency` long-running guests compute at once.
    pub(super) fn new(concurrency: usize) -> Self {
        Self(Semaphore::new(concurrency))
    }

    /// Runs `guest`, in time slices once it takes long. Updates `usage` while it runs, so that the usage of a
    /// guest that is stopped is known, too.
    pub(super) async fn run<F: Future>(
        &self,
        slice_end: &SliceEnd,
        usage: &mut CpuUsage,
        guest: F,
    ) -> F::Output {
        let mut guest = pin!(guest);
        let mut permit = None;
        loop {
            let ended =
                poll_fn(|context| match measure_cpu(&mut usage.cpu, || guest.as_mut().poll(context)) {
                    Poll::Ready(output) => Poll::Ready(Some(output)),
                    Poll::Pending if slice_end.0.swap(false, Ordering::Relaxed) => Poll::Ready(None),
                    Poll::Pending => {
                        // It waits for something, such as an HTTP response: others may compute.
                        permit = None;
                        Poll::Pending
                    }
                });
            if let Some(output) = ended.await {
                return output;
            }
            // First the thread handles the network, then the next guest gets its slice.
            let _timer = WaitTimer { since: Instant::now(), total: &mut usage.waiting };
            tokio::task::yield_now().await;
            drop(permit.take());
            permit = self.0.acquire().await.ok();
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

/// Adds the CPU time of `work` to `total`. `work` does not leave this thread.
fn measure_cpu<T>(total: &mut Duration, work: impl FnOnce() -> T) -> T {
    let before = thread_cpu();
    let done = work();
    *total += thread_cpu().saturating_sub(before);
    done
}

/// The CPU time that this thread has used.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
