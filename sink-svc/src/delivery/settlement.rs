//! Decides what happens to results after an attempt to deliver them.

use std::ops::RangeInclusive;
use std::time::Duration;

use mesh::backoff::Backoff;

use crate::kinds::{MAX_RETRY_AFTER, Outcome, Policy, Refusal};
use crate::outbox::{DeadLettered, Pending, Postponement};

const FIRST_WAIT: Duration = Duration::from_secs(1);
const MAX_WAIT: Duration = Duration::from_secs(300);

/// What to write about results.
#[derive(Debug, Default)]
pub(super) struct Settlement {
    pub(super) delivered: Vec<i64>,
    pub(super) postponed: Vec<Postponement>,
    pub(super) dead_lettered: Vec<DeadLettered>,
}

impl Settlement {
    /// Adds the outcome of one result.
    pub(super) fn add(&mut self, row: &Pending, outcome: Outcome, policy: &Policy, now_ms: i64) {
        match outcome {
            Outcome::Delivered => self.delivered.push(row.seq),
            Outcome::Refused(refusal) => self.refused(row, refusal, policy, now_ms),
        }
    }

    fn refused(&mut self, row: &Pending, refusal: Refusal, policy: &Policy, now_ms: i64) {
        let attempts = row.attempts.saturating_add(1);
        if refusal.is_final || attempts.cast_unsigned() >= policy.max_attempts {
            self.dead_lettered.push(DeadLettered::new(row.seq, attempts, refusal.reason.into()));
            return;
        }
        let wait = wait_after(attempts).max(refusal.retry_after.unwrap_or_default());
        let due_at_ms = now_ms.saturating_add(in_ms(wait));
        self.postponed.push(Postponement { seq: row.seq, attempts, due_at_ms, error: refusal.reason.into() });
    }

    /// Why results were refused, if none was delivered.
    pub(super) fn only_refused(&self) -> Option<&str> {
        let last = self.dead_lettered.last().map(|dead_lettered| &dead_lettered.reason);
        let last = last.or_else(|| self.postponed.last().map(|postponement| &postponement.error));
        last.filter(|_| self.delivered.is_empty()).map(String::as_str)
    }

    /// Dead-letters a result that has waited too long.
    pub(super) fn too_old(&mut self, row: &Pending, policy: &Policy, last_problem: Option<&str>) {
        let age = format!("not delivered within {} s", policy.max_age_s);
        let problem = last_problem.or_else(|| (!row.last_error.is_empty()).then_some(&*row.last_error));
        let reason = match problem {
            Some(problem) => format!("{age}: {problem}"),
            None => age,
        };
        self.dead_lettered.push(DeadLettered::new(row.seq, row.attempts, reason));
    }
}

/// Whether a result has waited too long: since before `oldest_ms`.
pub(super) fn is_too_old(row: &Pending, oldest_ms: i64) -> bool {
    row.received_at_ms < oldest_ms
}

/// The times at which a result is not due yet. What is to wait even longer than any result waits was written while the
/// clock was wrong, and is due.
pub(super) fn not_due(now_ms: i64) -> RangeInclusive<i64> {
    now_ms.saturating_add(1)..=now_ms.saturating_add(in_ms(MAX_WAIT.max(MAX_RETRY_AFTER)))
}

/// How long a result waits after this many failed attempts.
fn wait_after(attempts: i32) -> Duration {
    let mut backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
    let waits = (0..attempts).map(|_| backoff.next_wait());
    waits.last().unwrap_or_default()
}

fn in_ms(duration: Duration) -> i64 {
    i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    const NOW_MS: i64 = 1_000_000;

    fn row(attempts: i32, received_at_ms: i64) -> Pending {
        Pending {
            seq: 7,
            invocation_id: "i".into(),
            attempts,
            due_at_ms: 0,
            received_at_ms,
            last_error: String::new(),
            result: Bytes::new(),
            trace: None,
        }
    }

    fn refused(retry_after_s: Option<u64>) -> Outcome {
        let retry_after = retry_after_s.map(Duration::from_secs);
        Outcome::Refused(Refusal { retry_after, ..Refusal::new("answered 500") })
    }

    #[test]
    fn refused_results_wait_longer_each_time_until_they_are_dead_lettered() {
        let policy = Policy { max_attempts: 3, ..Policy::default() };
        for (attempts, retry_after_s, expected_ms) in [
            (0, None, Some(500..=1000)),
            (1, None, Some(1000..=2000)),
            (1, Some(60), Some(60_000..=60_000)),
            (2, None, None),
            (2, Some(60), None),
        ] {
            let mut settlement = Settlement::default();
            settlement.add(&row(attempts, 0), refused(retry_after_s), &policy, NOW_MS);
            match expected_ms {
                Some(expected_ms) => {
                    let wait_ms = settlement.postponed[0].due_at_ms - NOW_MS;
                    assert!(expected_ms.contains(&wait_ms), "{wait_ms} ms after {attempts}");
                    assert_eq!(settlement.postponed[0].attempts, attempts + 1);
                    assert_eq!(settlement.only_refused(), Some("answered 500"));
                }
                None => {
                    assert_eq!(settlement.dead_lettered[0].attempts, 3);
                    assert_eq!(settlement.dead_lettered[0].reason, "answered 500");
                }
            }
        }
        assert!(wait_after(40) <= MAX_WAIT);
        let mut settlement = Settlement::default();
        settlement.add(&row(0, 0), refused(None), &policy, NOW_MS);
        settlement.add(&row(0, 0), Outcome::Delivered, &policy, NOW_MS);
        assert_eq!(settlement.only_refused(), None, "one was delivered");
    }

    #[test]
    fn a_time_that_a_wrong_clock_has_set_is_due() {
        const DAY_MS: i64 = 24 * 3_600_000;
        for (due_at_ms, expected) in [
            (NOW_MS - DAY_MS, true),
            (NOW_MS, true),
            (NOW_MS + 1, false),
            (NOW_MS + in_ms(MAX_WAIT), false),
            (NOW_MS + in_ms(MAX_RETRY_AFTER), false),
            (NOW_MS + in_ms(MAX_RETRY_AFTER) + 1, true),
            (NOW_MS + 30 * DAY_MS, true),
        ] {
            assert_eq!(!not_due(NOW_MS).contains(&due_at_ms), expected, "{due_at_ms}");
        }
    }

    #[test]
    fn a_final_refusal_is_not_retried() {
        let mut settlement = Settlement::default();
        let refusal = Refusal { is_final: true, ..Refusal::new("answered 302 Found") };
        settlement.add(&row(0, 0), Outcome::Refused(refusal), &Policy::default(), NOW_MS);
        assert!(settlement.postponed.is_empty());
        assert_eq!(
            (settlement.dead_lettered[0].attempts, settlement.dead_lettered[0].reason.as_str()),
            (1, "answered 302 Found")
        );
    }

    #[test]
    fn reasons_of_old_results_name_the_last_problem() {
        let policy = Policy { max_age_s: 10, ..Policy::default() };
        for (received_at_ms, expected) in [(NOW_MS - 10_000, false), (NOW_MS - 10_001, true)] {
            assert_eq!(is_too_old(&row(0, received_at_ms), NOW_MS - 10_000), expected);
        }
        let mut settlement = Settlement::default();
        settlement.too_old(&row(0, 0), &policy, Some("connection refused"));
        settlement.too_old(&Pending { last_error: "answered 500".into(), ..row(1, 0) }, &policy, None);
        settlement.too_old(&row(0, 0), &policy, None);
        let reasons: Vec<_> =
            settlement.dead_lettered.iter().map(|dead_lettered| dead_lettered.reason.as_str()).collect();
        let age = "not delivered within 10 s";
        let expected = [format!("{age}: connection refused"), format!("{age}: answered 500"), age.to_owned()];
        assert_eq!(reasons, expected);
    }
}
