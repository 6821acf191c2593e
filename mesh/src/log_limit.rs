//! Warnings that a stranger can cause as often as he likes.

use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Limits a log line to one per interval.
#[derive(Debug)]
pub struct LogLimit {
    interval: Duration,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    logged_at: Option<Instant>,
    suppressed: u64,
}

impl LogLimit {
    /// One line per `interval`.
    pub fn new(interval: Duration) -> Self {
        Self { interval, state: Mutex::default() }
    }

    /// Whether to log at `now`: then the number of lines that were suppressed since the last one.
    pub fn allow(&self, now: Instant) -> Option<u64> {
        let mut state = self.state.lock();
        if state.logged_at.is_some_and(|at| now.duration_since(at) < self.interval) {
            state.suppressed += 1;
            return None;
        }
        state.logged_at = Some(now);
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_per_interval_and_the_others_are_counted() {
        let limit = LogLimit::new(Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| limit.allow(start + Duration::from_secs(seconds));
        let allowed = [0, 1, 9, 10, 11, 30].map(at);
        assert_eq!(allowed, [Some(0), None, None, Some(2), None, Some(1)]);
    }
}
