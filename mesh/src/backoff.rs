//! Waits between attempts.

use std::time::Duration;

use rand::RngExt as _;

/// Exponential backoff with jitter: each wait is random between half the current ceiling and the ceiling,
/// which doubles up to a cap.
#[derive(Debug, Clone)]
pub struct Backoff {
    first: Duration,
    cap: Duration,
    ceiling: Duration,
}

impl Backoff {
    /// Starts at about `first` and doubles up to `cap`.
    pub fn new(first: Duration, cap: Duration) -> Self {
        Self { first, cap, ceiling: first }
    }

    /// For reconnecting inside a mesh: 50 ms up to 1 s.
    pub fn reconnect() -> Self {
        Self::new(Duration::from_millis(50), Duration::from_secs(1))
    }

    /// Starts over after a successful attempt.
    pub fn reset(&mut self) {
        self.ceiling = self.first;
    }

    /// The time to wait before the next attempt.
    pub fn next_wait(&mut self) -> Duration {
        let wait = self.ceiling.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.ceiling = (self.ceiling * 2).min(self.cap);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubles_to_the_cap_and_starts_over() {
        let (first, cap) = (Duration::from_millis(100), Duration::from_millis(300));
        let mut backoff = Backoff::new(first, cap);
        for ceiling_ms in [100, 200, 300, 300] {
            let ceiling = Duration::from_millis(ceiling_ms);
            let wait = backoff.next_wait();
            assert!(wait >= ceiling / 2 && wait <= ceiling, "{wait:?} for {ceiling:?}");
        }
        backoff.reset();
        assert!(backoff.next_wait() <= first);
    }
}
