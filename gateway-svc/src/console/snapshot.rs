//! What the REST API says about the mesh at one time.

use std::time::Instant;

use super::failure::Failure;
use super::model::{Conservation, Event, Minute, Name, RecentInvocations, Sink, Workers};
use super::visitor::Visitor;

/// What the REST API says about the mesh, each part of it or why not.
pub(super) struct Snapshot {
    pub(super) modules: Result<Vec<Name>, Failure>,
    pub(super) recent: Result<RecentInvocations, Failure>,
    pub(super) events: Result<Vec<Event>, Failure>,
    pub(super) sinks: Result<Vec<Sink>, Failure>,
    pub(super) books: Result<Conservation, Failure>,
    /// `None`: the visitor may not see them.
    pub(super) workers: Option<Result<Workers, Failure>>,
    pub(super) at: Instant,
}

/// Events and results per second, since the snapshot before.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rates {
    pub(super) received: f64,
    pub(super) accepted: f64,
    pub(super) delivered: f64,
}

impl Snapshot {
    pub(super) async fn take(visitor: &Visitor) -> Self {
        let api = &visitor.api;
        let workers = async {
            match visitor.is_admin() {
                true => Some(api.get("/v1/admin/workers").await),
                false => None,
            }
        };
        let (modules, recent, events, sinks, books, workers) = tokio::join!(
            api.get("/v1/fn"),
            api.get("/v1/invocations?limit=0"),
            api.get("/v1/events"),
            api.get("/v1/sinks"),
            api.get("/v1/conservation"),
            workers,
        );
        Self { modules, recent, events, sinks, books, workers, at: Instant::now() }
    }

    pub(super) fn minutes(&self) -> &[Minute] {
        self.recent.as_ref().map(|recent| recent.minutes.as_slice()).unwrap_or_default()
    }

    pub(super) fn rates(&self, before: &Self) -> Option<Rates> {
        let seconds = self.at.duration_since(before.at).as_secs_f64();
        let (now, then) = (self.books.as_ref().ok()?, before.books.as_ref().ok()?);
        let per_second = |now: u64, then: u64| now.saturating_sub(then) as f64 / seconds.max(0.1);
        Some(Rates {
            received: per_second(now.events.sum.counts.received, then.events.sum.counts.received),
            accepted: per_second(now.sinks.sum.counts.accepted, then.sinks.sum.counts.accepted),
            delivered: per_second(now.sinks.sum.counts.delivered, then.sinks.sum.counts.delivered),
        })
    }
}

/// The invocations of the last minute, by the second: of the current minute and of the end of the one before.
pub(super) fn recent_rate(minutes: &[Minute], now_ms: i64) -> f64 {
    let of_minute = |number: i64| {
        let start = mesh::clock::rfc_3339(number * 60_000);
        minutes.iter().rev().find(|minute| minute.at == start).map_or(0, |minute| minute.count) as f64
    };
    let (number, passed) = (now_ms.div_euclid(60_000), now_ms.rem_euclid(60_000) as f64 / 60_000.0);
    (of_minute(number) + of_minute(number - 1) * (1.0 - passed)) / 60.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_last_minute() {
        let minute = |number: i64, count| Minute {
            at: mesh::clock::rfc_3339(number * 60_000),
            count,
            errors: 0,
            cold: 0,
            p50_us: 0,
            p99_us: 0,
        };
        let minutes = [minute(8, 6_000), minute(9, 120), minute(10, 30)];
        let close = |now_ms, expected: f64| (recent_rate(&minutes, now_ms) - expected).abs() < 1e-9;
        assert!(close(10 * 60_000, 2.5), "{}", recent_rate(&minutes, 600_000));
        assert!(close(10 * 60_000 + 30_000, 1.5));
        assert!(close(11 * 60_000 + 30_000, 0.25));
        assert!(close(20 * 60_000, 0.0));
        assert_eq!(recent_rate(&[], 0), 0.0);
    }
}
