//! Steps of the wall clock.
//!
//! The clock of a machine may be set: a Raspberry Pi has no clock chip and learns the time after it has booted, a
//! suspended laptop resumes, an administrator corrects a mistake. Comparing the wall clock with the monotonic one
//! shows it. What has to happen at a time of day then waits anew, and what counts as old is not old because of it.

use std::sync::LazyLock;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::now_ms;

/// How often [`follow`] compares the clocks.
const INTERVAL: Duration = Duration::from_secs(1);
/// Smaller differences are corrections of the rate, and the time between the two readings.
const MIN_STEP_MS: i64 = 500;
/// The most steps that are remembered. Only a broken clock has more.
const MAX_STEPS: usize = 64;

static CLOCK: LazyLock<Clock> = LazyLock::new(|| Clock {
    began: Instant::now(),
    steps: Mutex::default(),
    changed: watch::Sender::new(()),
});

#[derive(Debug)]
struct Clock {
    began: Instant,
    steps: Mutex<Steps>,
    changed: watch::Sender<()>,
}

/// The steps of the clock while this process runs.
#[derive(Debug, Default)]
struct Steps {
    /// The difference between the clocks at the last comparison. `None` before the first.
    difference_ms: Option<i64>,
    /// The steps forwards that the clock has not taken back, from the earliest to the latest.
    forwards: Vec<Step>,
}

/// A step forwards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// What the clock would show at its end without it.
    from_ms: i64,
    by_ms: i64,
}

impl Steps {
    /// Compares the clocks. Returns by how much the wall clock has been set since the last comparison.
    fn compare(&mut self, monotonic_ms: i64, wall_ms: i64) -> Option<i64> {
        let difference_ms = wall_ms.saturating_sub(monotonic_ms);
        let former_ms = self.difference_ms.replace(difference_ms)?;
        let by_ms = difference_ms.saturating_sub(former_ms);
        if by_ms.saturating_abs() < MIN_STEP_MS {
            return None;
        }
        if by_ms > 0 {
            if self.forwards.len() == MAX_STEPS {
                self.forwards.remove(0);
            }
            self.forwards.push(Step { from_ms: wall_ms.saturating_sub(by_ms), by_ms });
        } else {
            self.take_back(by_ms.saturating_neg());
        }
        Some(by_ms)
    }

    /// The clock has been set back. That undoes the latest steps forwards.
    fn take_back(&mut self, mut by_ms: i64) {
        while by_ms > 0
            && let Some(last) = self.forwards.last_mut()
        {
            let undone_ms = by_ms.min(last.by_ms);
            last.by_ms -= undone_ms;
            by_ms -= undone_ms;
            if last.by_ms == 0 {
                self.forwards.pop();
            }
        }
    }

    /// What the clock showed this long before `wall_ms`.
    fn before(&self, wall_ms: i64, ago_ms: i64) -> i64 {
        let mut then_ms = wall_ms.saturating_sub(ago_ms);
        for step in self.forwards.iter().rev() {
            if then_ms < step.from_ms.saturating_add(step.by_ms) {
                then_ms = then_ms.saturating_sub(step.by_ms);
            }
        }
        then_ms
    }
}

impl Clock {
    fn compare(&self) -> i64 {
        let mut steps = self.steps.lock();
        let wall_ms = now_ms();
        let monotonic_ms = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        if let Some(by_ms) = steps.compare(monotonic_ms, wall_ms) {
            drop(steps);
            tracing::warn!(by_s = by_ms / 1000, "the clock of this machine has been set");
            self.changed.send_replace(());
        }
        wall_ms
    }
}

/// What the wall clock showed this long ago, in Unix milliseconds. A time before that is older than `duration`, even if
/// the clock has been set in between.
pub fn ago_ms(duration: Duration) -> i64 {
    let wall_ms = CLOCK.compare();
    let ago_ms = i64::try_from(duration.as_millis()).unwrap_or(i64::MAX);
    CLOCK.steps.lock().before(wall_ms, ago_ms)
}

/// Changes when the wall clock is set, while something [follows](follow) it.
pub fn changes() -> watch::Receiver<()> {
    CLOCK.changed.subscribe()
}

/// Compares the clocks every second. Never ends.
pub async fn follow() {
    loop {
        CLOCK.compare();
        tokio::time::sleep(INTERVAL).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: i64 = 24 * 3_600_000;
    /// The wall clock when the process begins.
    const BEGAN: i64 = 1_700_000_000_000;

    /// Steps: after how long, by how much. Then: after how long it is asked, how long ago, and what the clock showed then,
    /// relative to the beginning.
    type Case = (&'static [(i64, i64)], i64, i64, i64);

    const CASES: &[Case] = &[
        (&[], 10_000, 4000, 6000),
        // It runs ahead for 6 s and comes back.
        (&[(10_000, 30 * DAY)], 11_000, 500, 30 * DAY + 10_500),
        (&[(10_000, 30 * DAY)], 11_000, 4000, 7000),
        (&[(10_000, 30 * DAY)], 16_000, 9000, 7000),
        (&[(10_000, 30 * DAY), (16_000, -30 * DAY)], 18_000, 1000, 17_000),
        (&[(10_000, 30 * DAY), (16_000, -30 * DAY)], 18_000, 9000, 9000),
        // It gets the time after the boot, in two steps.
        (&[(10_000, 365 * DAY), (20_000, 3000)], 30_000, 5000, 365 * DAY + 28_000),
        (&[(10_000, 365 * DAY), (20_000, 3000)], 30_000, 15_000, 365 * DAY + 15_000),
        (&[(10_000, 365 * DAY), (20_000, 3000)], 30_000, 25_000, 5000),
        // A part of a step is taken back.
        (&[(10_000, 10_000), (12_000, -4000)], 20_000, 15_000, 5000),
        // It is set back only: what was written before seems to lie ahead, and is not old.
        (&[(10_000, -DAY)], 20_000, 5000, -DAY + 15_000),
        // Corrections of the rate are no steps.
        (&[(10_000, 400)], 20_000, 15_000, 5400),
    ];

    #[test]
    fn what_the_clock_showed() {
        for (steps, at, ago, expected) in CASES {
            let mut clock = Steps::default();
            let mut ahead = 0;
            assert_eq!(clock.compare(0, BEGAN), None);
            for (after, by) in *steps {
                assert_eq!(clock.compare(*after - 1, BEGAN + after - 1 + ahead), None);
                ahead += by;
                let noticed = clock.compare(*after, BEGAN + after + ahead);
                assert_eq!(noticed.is_some(), by.abs() >= MIN_STEP_MS, "{steps:?}");
            }
            assert_eq!(clock.before(BEGAN + at + ahead, *ago), BEGAN + expected, "{steps:?} {at} {ago}");
        }
    }

    #[test]
    fn a_broken_clock_is_bounded() {
        let mut clock = Steps::default();
        for n in 0..1000 {
            clock.compare(n, n * 10_000);
        }
        assert_eq!(clock.forwards.len(), MAX_STEPS);
    }

    #[test]
    fn the_clock_of_this_machine() {
        assert!((now_ms() - ago_ms(Duration::from_secs(5)) - 5000).abs() < 1000);
    }
}
