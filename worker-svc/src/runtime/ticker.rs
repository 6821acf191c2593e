//! Interrupts guests: one thread advances the engine's epoch while guests run.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use wasmtime::Engine;

/// The time between two ticks, which is the length of a time slice.
pub(super) const PERIOD: Duration = Duration::from_millis(1);
/// For how many ticks it goes on when nothing runs: a guest that starts within this time need not wake it.
const LINGER: u32 = 200;

/// The engine's ticker. It sleeps while nothing runs, so that an idle machine stays idle.
#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    running: AtomicUsize,
    asleep: AtomicBool,
    stopping: Mutex<bool>,
    wake: Condvar,
}

impl Ticker {
    /// Starts the thread.
    pub(crate) fn start(engine: Engine) -> std::io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let ticking = Arc::clone(&shared);
        let thread =
            std::thread::Builder::new().name("epochs".into()).spawn(move || ticking.tick(&engine))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Ticks at least until the guard is dropped.
    pub(crate) fn run(&self) -> TickGuard<'_> {
        // Either this sees that the ticker is asleep, or the ticker sees that a guest runs: both write before
        // they read.
        self.shared.running.fetch_add(1, Ordering::SeqCst);
        if self.shared.asleep.load(Ordering::SeqCst) {
            let _awaited = self.shared.stopping.lock();
            self.shared.wake.notify_one();
        }
        TickGuard { ticker: self }
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        *self.shared.stopping.lock() = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // Nothing is left to do if it has panicked.
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn tick(&self, engine: &Engine) {
        let mut idle_ticks = 0;
        let mut stopping = self.stopping.lock();
        while !*stopping {
            self.wake.wait_for(&mut stopping, PERIOD);
            engine.increment_epoch();
            idle_ticks = if self.running.load(Ordering::SeqCst) == 0 { idle_ticks + 1 } else { 0 };
            if idle_ticks > LINGER {
                self.asleep.store(true, Ordering::SeqCst);
                while self.running.load(Ordering::SeqCst) == 0 && !*stopping {
                    self.wake.wait(&mut stopping);
                }
                self.asleep.store(false, Ordering::SeqCst);
                idle_ticks = 0;
            }
        }
    }
}

/// Keeps the ticker running.
#[derive(Debug)]
pub(crate) struct TickGuard<'a> {
    ticker: &'a Ticker,
}

impl Drop for TickGuard<'_> {
    fn drop(&mut self) {
        self.ticker.shared.running.fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sleeps_when_idle_and_wakes_up() {
        let ticker = Ticker::start(Engine::default()).expect("a thread");
        for _ in 0..3 {
            let asleep = || async { ticker.shared.asleep.load(Ordering::SeqCst) };
            mesh::testing::eventually("the ticker sleeps", asleep).await;
            let running = ticker.run();
            mesh::testing::eventually("the ticker ticks", || async { !asleep().await }).await;
            drop(running);
        }
    }
}
