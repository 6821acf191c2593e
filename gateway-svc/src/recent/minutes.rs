//! Invocations by minute, for an hour.

use std::collections::VecDeque;

use super::latencies::Latencies;
use super::{Ended, Invocation};

const MS_OF_MINUTE: i64 = 60_000;
/// How many minutes are kept, the current one included.
const KEPT: i64 = 60;

/// The invocations that began in one minute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Minute {
    /// Unix time in milliseconds of its beginning.
    pub(crate) at_ms: i64,
    pub(crate) count: u64,
    /// Those that ended without a result.
    pub(crate) errors: u64,
    /// Those for which code was fetched, compiled or loaded.
    pub(crate) cold: u64,
    /// Quantiles of the time in the mesh, in microseconds.
    pub(crate) p50_us: u64,
    pub(crate) p99_us: u64,
}

#[derive(Debug)]
struct Counted {
    /// Minutes since the epoch.
    number: i64,
    count: u64,
    errors: u64,
    cold: u64,
    latencies: Latencies,
}

/// See the module. Minutes without invocations are left out.
#[derive(Debug, Default)]
pub(super) struct Minutes(VecDeque<Counted>);

impl Minutes {
    pub(super) fn count(&mut self, invocation: &Invocation) {
        let counted = self.minute(invocation.at_ms.div_euclid(MS_OF_MINUTE));
        counted.count += 1;
        counted.errors += u64::from(invocation.ended != Ended::Ok);
        counted.cold += u64::from(invocation.is_cold());
        counted.latencies.add(invocation.receipt.total_us);
    }

    /// The minute with this number. Invocations end in another order than they begin, so it need not be the last one.
    fn minute(&mut self, number: i64) -> &mut Counted {
        let place = self.0.partition_point(|counted| counted.number < number);
        if self.0.get(place).is_none_or(|counted| counted.number != number) {
            let new = Counted { number, count: 0, errors: 0, cold: 0, latencies: Latencies::default() };
            self.0.insert(place, new);
        }
        let excess = self.0.len().saturating_sub(KEPT as usize).min(place);
        self.0.drain(..excess);
        &mut self.0[place - excess]
    }

    /// The minutes of the hour that ends at `now_ms`, oldest first.
    pub(super) fn since(&self, now_ms: i64) -> Vec<Minute> {
        let first = now_ms.div_euclid(MS_OF_MINUTE) - KEPT + 1;
        let recent = self.0.iter().filter(|counted| counted.number >= first);
        let minute = |counted: &Counted| Minute {
            at_ms: counted.number * MS_OF_MINUTE,
            count: counted.count,
            errors: counted.errors,
            cold: counted.cold,
            p50_us: counted.latencies.quantile(0.5),
            p99_us: counted.latencies.quantile(0.99),
        };
        recent.map(minute).collect()
    }
}

#[cfg(test)]
mod tests {
    use mesh::Caller;
    use mesh::receipt::Receipt;

    use super::*;

    fn invocation(at_ms: i64, ended: Ended, receipt: Receipt) -> Invocation {
        Invocation {
            id: String::new(),
            at_ms,
            caller: Caller::Service,
            module: String::new(),
            function: String::new(),
            ended,
            decision: String::new(),
            trace_id: String::new(),
            receipt,
        }
    }

    #[test]
    fn an_hour_is_kept() {
        let mut minutes = Minutes::default();
        // The last one began long before the others.
        for minute in (0..200).chain([150]) {
            minutes.count(&invocation(minute * MS_OF_MINUTE + 1, Ended::Ok, Receipt::default()));
        }
        let now = 199 * MS_OF_MINUTE + 59_999;
        let seen: Vec<_> = minutes.since(now).iter().map(|minute| (minute.at_ms, minute.count)).collect();
        let expected: Vec<_> =
            (140..200).map(|minute| (minute * MS_OF_MINUTE, 1 + u64::from(minute == 150))).collect();
        assert_eq!(seen, expected);
        assert_eq!(minutes.since(now + 30 * MS_OF_MINUTE).len(), 30);
        assert!(minutes.since(now + 60 * MS_OF_MINUTE).is_empty());
        minutes.count(&invocation(1, Ended::Ok, Receipt::default()));
        assert!(minutes.0.len() <= KEPT as usize + 1, "one that is too old takes no room for long");
    }

    #[test]
    fn errors_and_cold_starts_are_counted() {
        let mut minutes = Minutes::default();
        let cold = Receipt { load_us: 5, total_us: 2_000, ..Receipt::default() };
        let warm = Receipt { total_us: 1_000, ..Receipt::default() };
        minutes.count(&invocation(0, Ended::Ok, cold));
        minutes.count(&invocation(0, Ended::FunctionError("why".into()), warm.clone()));
        minutes.count(&invocation(0, Ended::Failed("NO_WORKER", "why".into()), warm));
        let minute = minutes.since(0)[0];
        assert_eq!((minute.count, minute.errors, minute.cold), (3, 2, 1));
        assert!(minute.p50_us >= 1_000 && minute.p99_us >= 2_000, "{minute:?}");
    }
}
