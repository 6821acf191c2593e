//! Fairness among guests that compute for long.
//!
//! Guests run on the threads that serve calls too. A guest that is done within a tick is never
//! slowed. One that goes on takes turns of one tick with the others of its kind, of which no more
//! run at once than there are threads; between two turns a thread looks after the network. So a
//! thousand spinning guests delay a call by a few ticks, not by a thousand.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::Poll;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tokio::sync::Semaphore;
use wasmtime::{Store, UpdateDeadline};

/// Ticks that a guest runs before it has to take turns. The first may end at once.
const FREE_TICKS: u64 = 2;

/// The turns of all guests.
#[derive(Debug)]
pub(crate) struct Turns(Semaphore);

/// What a guest has taken.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// Of the processor.
    pub(crate) cpu: Duration,
    /// Waiting for its turns.
    pub(crate) waiting: Duration,
}

/// Raised when a guest's time slice is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct SliceEnd(Arc<AtomicBool>);

impl SliceEnd {
    /// Makes the guest of `store` pause whenever its slice ends.
    pub(crate) fn watch<T>(&self, store: &mut Store<T>) {
        let raised = Arc::clone(&self.0);
        store.set_epoch_deadline(FREE_TICKS);
        store.epoch_deadline_callback(move |_| {
            raised.store(true, Ordering::Relaxed);
            Ok(UpdateDeadline::YieldCustom(1, Box::pin(pause())))
        });
    }
}

/// Pends once. Whoever polls the guest knows when to poll it again.
async fn pause() {
    let mut paused = false;
    poll_fn(|_| if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }).await;
}

impl Turns {
    /// So many guests compute at once.
    pub(crate) fn new(at_once: usize) -> Self {
        Self(Semaphore::new(at_once))
    }

    /// Runs `guest`, in turns once it takes long. What it takes is added to `spent` as it goes, so that it
    /// is known also of a guest that is stopped.
    pub(crate) async fn run<F: Future>(
        &self,
        slice_end: &SliceEnd,
        spent: &mut Spent,
        guest: F,
    ) -> F::Output {
        let mut guest = pin!(guest);
        let mut turn = None;
        loop {
            let ended =
                poll_fn(|context| match on_the_processor(&mut spent.cpu, || guest.as_mut().poll(context)) {
                    Poll::Ready(output) => Poll::Ready(Some(output)),
                    Poll::Pending if slice_end.0.swap(false, Ordering::Relaxed) => Poll::Ready(None),
                    Poll::Pending => {
                        // It waits for something, an HTTP answer for example: others may compute.
                        turn = None;
                        Poll::Pending
                    }
                });
            if let Some(output) = ended.await {
                return output;
            }
            // First the thread looks after the network, then the turn passes on.
            let _waiting = Waiting { since: Instant::now(), total: &mut spent.waiting };
            tokio::task::yield_now().await;
            drop(turn.take());
            turn = self.0.acquire().await.ok();
        }
    }
}

/// A wait, added to the total when it is dropped, however it ends.
struct Waiting<'a> {
    since: Instant,
    total: &'a mut Duration,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        *self.total += self.since.elapsed();
    }
}

/// Adds to `cpu` what `work` takes of the processor. It does not leave this thread.
fn on_the_processor<T>(cpu: &mut Duration, work: impl FnOnce() -> T) -> T {
    let before = thread_cpu();
    let done = work();
    *cpu += thread_cpu().saturating_sub(before);
    done
}

/// What this thread has taken of the processor.
fn thread_cpu() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}
