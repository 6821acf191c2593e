//! Circuit breakers: a destination that fails gets no requests for a while. Then one request tries it.

use std::collections::HashMap;
use std::sync::{Arc, Weak};
use std::time::Duration;

use mesh::backoff::Backoff;
use parking_lot::Mutex;
use prometheus::IntGaugeVec;
use tokio::sync::Notify;
use tokio::time::Instant;

const FIRST_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// A circuit breaker.
#[derive(Debug)]
pub(super) struct Breaker {
    inner: Mutex<Inner>,
    changed: Notify,
    /// The metric that shows whether requests are stopped, if there is one.
    gauge: Option<Gauge>,
}

#[derive(Debug)]
struct Inner {
    state: State,
    backoff: Backoff,
    last_answer: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Requests pass.
    Closed,
    /// No request passes until `until`.
    Open { until: Instant },
    /// One request has passed as a trial; the others wait for its result.
    HalfOpen,
}

#[derive(Debug)]
struct Gauge {
    open: IntGaugeVec,
    destination: String,
}

impl Breaker {
    /// A breaker that is not shared and has no metric.
    pub(super) fn new() -> Arc<Self> {
        Self::with_gauge(None)
    }

    fn with_gauge(gauge: Option<Gauge>) -> Arc<Self> {
        let backoff = Backoff::new(FIRST_WAIT, MAX_WAIT);
        let inner = Inner { state: State::Closed, backoff, last_answer: None };
        let breaker = Self { inner: Mutex::new(inner), changed: Notify::new(), gauge };
        breaker.show(State::Closed);
        Arc::new(breaker)
    }

    /// Waits until a request may be sent.
    pub(super) async fn pass(self: &Arc<Self>) -> Pass {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let state = self.inner.lock().state;
            match state {
                State::Closed => return Pass::new(self, false),
                State::Open { until } if until > Instant::now() => {
                    let _ = tokio::time::timeout_at(until, changed).await;
                }
                State::Open { .. } => {
                    if self.begin_trial() {
                        return Pass::new(self, true);
                    }
                }
                State::HalfOpen => changed.await,
            }
        }
    }

    /// Whether there has been an answer after `since`.
    pub(super) fn answered_since(&self, since: Instant) -> bool {
        self.inner.lock().last_answer.is_some_and(|at| at > since)
    }

    /// Begins the trial if it is time. Only one of several callers succeeds.
    fn begin_trial(&self) -> bool {
        let mut inner = self.inner.lock();
        let is_time = matches!(inner.state, State::Open { until } if until <= Instant::now());
        if is_time {
            inner.state = State::HalfOpen;
        }
        is_time
    }

    fn set(&self, state: State) {
        self.inner.lock().state = state;
        self.show(state);
        self.changed.notify_waiters();
    }

    fn show(&self, state: State) {
        if let Some(gauge) = &self.gauge {
            let is_open = i64::from(!matches!(state, State::Closed));
            gauge.open.with_label_values(&[&gauge.destination]).set(is_open);
        }
    }
}

impl Drop for Breaker {
    fn drop(&mut self) {
        if let Some(gauge) = &self.gauge {
            // The destination is not in use any more.
            let _ = gauge.open.remove_label_values(&[&gauge.destination]);
        }
    }
}

/// Permission to send one request. Its holder reports the result. If a trial is dropped without a report, the
/// next request may try.
#[derive(Debug)]
pub(super) struct Pass {
    breaker: Arc<Breaker>,
    is_trial: bool,
}

impl Pass {
    fn new(breaker: &Arc<Breaker>, is_trial: bool) -> Self {
        Self { breaker: Arc::clone(breaker), is_trial }
    }

    /// Reports that there was an answer.
    pub(super) fn answered(mut self) {
        {
            let mut inner = self.breaker.inner.lock();
            inner.last_answer = Some(Instant::now());
            if self.is_trial {
                inner.backoff.reset();
            }
        }
        if std::mem::take(&mut self.is_trial) {
            self.breaker.set(State::Closed);
        }
    }

    /// Reports that the destination is unavailable, and for how long it asked us to wait.
    pub(super) fn away(mut self, retry_after: Option<Duration>) {
        let until = {
            let mut inner = self.breaker.inner.lock();
            let asked_for = Instant::now() + retry_after.unwrap_or_default();
            match inner.state {
                // Another request has opened it already.
                State::Open { until } => until.max(asked_for),
                State::HalfOpen if !self.is_trial => return,
                State::HalfOpen | State::Closed => asked_for.max(Instant::now() + inner.backoff.next_wait()),
            }
        };
        self.is_trial = false;
        self.breaker.set(State::Open { until });
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.is_trial {
            self.breaker.set(State::Open { until: Instant::now() });
        }
    }
}

/// The breakers of all destinations, each shared by the bindings that deliver there.
#[derive(Debug)]
pub(super) struct Breakers {
    by_destination: Mutex<HashMap<String, Weak<Breaker>>>,
    open: IntGaugeVec,
}

impl Breakers {
    /// `open` has one label, the destination.
    pub(super) fn new(open: IntGaugeVec) -> Self {
        Self { by_destination: Mutex::default(), open }
    }

    /// The breaker of a destination.
    pub(super) fn of(&self, destination: String) -> Arc<Breaker> {
        let mut breakers = self.by_destination.lock();
        if let Some(breaker) = breakers.get(&destination).and_then(Weak::upgrade) {
            return breaker;
        }
        breakers.retain(|_, breaker| breaker.strong_count() > 0);
        let gauge = Gauge { open: self.open.clone(), destination: destination.clone() };
        let breaker = Breaker::with_gauge(Some(gauge));
        breakers.insert(destination, Arc::downgrade(&breaker));
        breaker
    }
}

#[cfg(test)]
mod tests {
    use prometheus::Opts;

    use super::*;

    /// The pass of a request, if it passes at once.
    async fn passes(breaker: &Arc<Breaker>) -> Option<Pass> {
        tokio::time::timeout(Duration::ZERO, breaker.pass()).await.ok()
    }

    #[tokio::test(start_paused = true)]
    async fn after_the_wait_one_request_tries_and_an_answer_lets_all_pass() {
        let breaker = Breaker::new();
        let (first, second) = (breaker.pass().await, breaker.pass().await);
        first.away(None);
        second.away(None);
        assert!(passes(&breaker).await.is_none(), "no request passes");

        let start = Instant::now();
        let trial = breaker.pass().await;
        let waited = start.elapsed();
        assert!(waited >= FIRST_WAIT / 2 && waited <= FIRST_WAIT + Duration::from_millis(5), "{waited:?}");
        assert!(passes(&breaker).await.is_none(), "only one request tries");
        trial.answered();
        assert!(passes(&breaker).await.is_some() && passes(&breaker).await.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn the_wait_grows_up_to_its_maximum() {
        let breaker = Breaker::new();
        let mut longest = Duration::ZERO;
        for _ in 0..12 {
            let start = Instant::now();
            breaker.pass().await.away(None);
            longest = longest.max(start.elapsed());
        }
        assert!(longest > MAX_WAIT / 3, "{longest:?}");
        assert!(longest <= MAX_WAIT + Duration::from_millis(5), "{longest:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn retry_after_is_honoured() {
        let breaker = Breaker::new();
        breaker.pass().await.away(Some(Duration::from_secs(120)));
        let start = Instant::now();
        breaker.pass().await.answered();
        assert!(start.elapsed() >= Duration::from_secs(120));
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_trial_lets_another_request_try() {
        let breaker = Breaker::new();
        breaker.pass().await.away(None);
        let trial = breaker.pass().await;
        let next = tokio::spawn({
            let breaker = Arc::clone(&breaker);
            async move { breaker.pass().await }
        });
        drop(trial);
        next.await.expect("it passes").answered();
        assert!(passes(&breaker).await.is_some());
    }

    #[tokio::test]
    async fn bindings_share_the_breaker_of_a_destination() {
        let open = IntGaugeVec::new(Opts::new("open", "open"), &["destination"]).expect("well-formed");
        let breakers = Breakers::new(open.clone());
        let (here, there) = (breakers.of("http://a".into()), breakers.of("http://a".into()));
        let other = breakers.of("http://b".into());
        here.pass().await.away(None);
        assert!(passes(&there).await.is_none() && passes(&other).await.is_some());
        assert_eq!(open.with_label_values(&["http://a"]).get(), 1);
        assert_eq!(open.with_label_values(&["http://b"]).get(), 0);
        let started = Instant::now() - Duration::from_secs(1);
        other.pass().await.answered();
        assert!(other.answered_since(started) && !there.answered_since(started));
    }
}
