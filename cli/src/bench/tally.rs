//! What the invocations of one connection, or of all, came to.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;

/// The longest latency that is told from longer ones, in microseconds: an hour.
const MAX_LATENCY_US: u64 = 3_600_000_000;
/// The significant digits of latencies.
const DIGITS: u8 = 3;

/// Latencies of those that succeeded, and the errors of the others.
#[derive(Debug)]
pub struct Tally {
    /// In microseconds.
    pub latency: Histogram<u64>,
    pub errors: BTreeMap<ErrorKind, Errors>,
}

/// Errors of one kind are counted together.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct ErrorKind {
    /// The HTTP status; absent if there was no answer.
    pub status: Option<u16>,
    /// The reason, such as OVERLOADED. Empty: the answer has none.
    pub reason: String,
}

/// Errors of one kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Errors {
    pub count: u64,
    /// The message of the first.
    pub message: String,
}

impl Tally {
    /// An empty one.
    pub fn new() -> anyhow::Result<Self> {
        let latency = Histogram::new_with_bounds(1, MAX_LATENCY_US, DIGITS)?;
        Ok(Self { latency, errors: BTreeMap::new() })
    }

    /// Counts an invocation that succeeded.
    pub fn succeed(&mut self, latency: Duration) {
        self.latency.saturating_record(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).max(1));
    }

    /// Counts one that failed.
    pub fn fail(&mut self, kind: ErrorKind, message: impl FnOnce() -> String) {
        let errors = self.errors.entry(kind);
        errors.or_insert_with(|| Errors { count: 0, message: message() }).count += 1;
    }

    /// Adds those of another.
    pub fn add(&mut self, other: Self) -> anyhow::Result<()> {
        self.latency.add(&other.latency)?;
        for (kind, Errors { count, message }) in other.errors {
            self.errors.entry(kind).or_insert(Errors { count: 0, message }).count += count;
        }
        Ok(())
    }

    /// How many succeeded.
    pub fn succeeded(&self) -> u64 {
        self.latency.len()
    }

    /// How many failed.
    pub fn failed(&self) -> u64 {
        self.errors.values().map(|errors| errors.count).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tallies_add_up() {
        let kind = |status, reason: &str| ErrorKind { status, reason: reason.into() };
        let mut all = Tally::new().expect("bounds");
        for messages in [["a", "b"], ["c", "d"]] {
            let mut one = Tally::new().expect("bounds");
            one.succeed(Duration::from_millis(2));
            one.succeed(Duration::from_secs(10 * 3600));
            one.fail(kind(Some(429), "OVERLOADED"), || messages[0].into());
            one.fail(kind(Some(429), "OVERLOADED"), || messages[1].into());
            one.fail(kind(None, ""), || "gone".into());
            all.add(one).expect("the same bounds");
        }
        assert_eq!((all.succeeded(), all.failed()), (4, 6));
        assert_eq!(all.latency.value_at_quantile(0.5) / 10, 200);
        assert!(all.latency.max() >= MAX_LATENCY_US, "what is longer counts as the longest");
        let overloaded = &all.errors[&kind(Some(429), "OVERLOADED")];
        assert_eq!(overloaded, &Errors { count: 4, message: "a".into() });
    }
}
