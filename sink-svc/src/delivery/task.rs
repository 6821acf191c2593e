//! The delivery task of one binding.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use mesh::bindings::{End, HeldBinding, Report};
use mesh::clock::{ago_ms, now_ms};
use proto::registry::v1::FunctionBinding;
use tokio::task::unconstrained;
use tokio::time::{Instant, MissedTickBehavior};

use super::DeliveryContext;
use super::attempt::Attempt;
use super::breaker::{Breaker, Pass};
use super::connection::Connection;
use super::queue::{PAGE, Queue, Waiting};
use super::read_cursor::ReadCursor;
use super::settlement::{Settlement, not_due};
use crate::error::Result;
use crate::kinds::{self, Away, Batch, Delivery, FaultScope, Opened, Outcome, Policy, Refusal, Sink};
use crate::outbox::Page;
use crate::trace::Store;

/// How often the outbox is read for results that other replicas accepted or that have become due.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// Delivers the results of one binding.
pub(super) struct DeliveryTask<'a> {
    context: Arc<DeliveryContext>,
    binding: FunctionBinding,
    id: String,
    kind: String,
    policy: Policy,
    sink: Arc<dyn Sink>,
    store: Arc<Store>,
    /// The breaker of this binding.
    own: Arc<Breaker>,
    /// The breaker of all bindings that deliver there.
    destination: Arc<Breaker>,
    report: &'a Report,
    queue: Queue,
    /// The operations in progress.
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    /// How many of them are requests. A request counts until its settlement is written.
    requests: usize,
    /// The maximum number of results in one request. Reduced after requests that got no answer.
    max_rows: usize,
    cursor: ReadCursor,
    /// If ordered: the lease has expired since the outbox was read.
    lapsed: bool,
    connection: Connection,
}

/// An operation that has ended.
enum Done {
    Described,
    Read(Result<Page>),
    Probed(Result<(), Away>),
    /// A request got no answer that tells the outcomes of its results.
    Away {
        rows: Vec<Waiting>,
        sent: Instant,
        away: Away,
        attempt: Attempt,
    },
    /// A settlement has been written.
    Recorded {
        rows: Vec<Waiting>,
        settlement: Settlement,
        cause: Cause,
    },
}

/// Why results were settled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// The store answered.
    Answer,
    /// The store does not answer requests with this result, but it answers others.
    NoAnswer,
    /// They have waited too long.
    Age,
}

impl<'a> DeliveryTask<'a> {
    pub(super) fn new(context: Arc<DeliveryContext>, binding: FunctionBinding, report: &'a Report) -> Self {
        let Opened { policy, sink } = kinds::open_any(&binding, &context.network);
        let it = binding.binding.clone().unwrap_or_default();
        let store = context.stores.add(&it.r#type, &it.id, sink.destination());
        Self {
            destination: context.breakers.of(sink.destination()),
            own: Breaker::new(),
            context,
            store,
            id: it.id,
            kind: it.r#type,
            queue: Queue::new(policy.ordered),
            policy,
            sink: Arc::from(sink),
            binding,
            report,
            work: FuturesUnordered::new(),
            requests: 0,
            max_rows: usize::MAX,
            cursor: ReadCursor::new(),
            lapsed: false,
            connection: Connection::new(),
        }
    }

    /// Delivers until the binding should stop.
    pub(super) async fn run(&mut self, held: &HeldBinding) -> End {
        let arrivals = self.context.outbox.arrivals(&self.id);
        let (own, destination) = (Arc::clone(&self.own), Arc::clone(&self.destination));
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.describe();
        self.probe();
        loop {
            self.check_lease(held);
            self.read();
            let may_send = !self.lapsed && self.requests < self.max_requests() && self.queue.is_due(now_ms());
            let awaits_lease = self.lapsed && self.has_nothing_in_progress();
            let passes = async { (own.pass().await, destination.pass().await) };
            tokio::select! {
                end = held.ended() => return end,
                Some(done) = self.work.next(), if !self.work.is_empty() => self.handle(done),
                passes = passes, if may_send => {
                    // Waiting for the breakers may have taken long.
                    self.check_lease(held);
                    self.send(passes);
                }
                () = held.leased(), if awaits_lease => {}
                () = arrivals.notified() => self.cursor.resume(),
                _ = poll.tick() => self.poll(),
            }
        }
    }

    /// Waits for the operations in progress.
    pub(super) async fn finish(&mut self) {
        while self.work.next().await.is_some() {}
    }

    fn max_requests(&self) -> usize {
        match self.policy {
            Policy { ordered: true, .. } => 1,
            Policy { max_in_flight, .. } => max_in_flight.unwrap_or(self.sink.batch().in_flight),
        }
    }

    /// The limits of one request.
    fn batch(&self) -> Batch {
        let batch = self.sink.batch();
        Batch { rows: batch.rows.min(self.max_rows), ..batch }
    }

    /// Without the lease, another replica may deliver. An ordered binding then sends nothing. When it has the
    /// lease again, it reads the outbox again, since the other replica may have delivered some results.
    fn check_lease(&mut self, held: &HeldBinding) {
        if !self.policy.ordered {
            return;
        }
        // Unconstrained, so that Tokio's task budget does not make a held lease look expired.
        let is_leased = unconstrained(held.leased()).now_or_never().is_some();
        self.lapsed |= !is_leased;
        if self.lapsed && is_leased && self.has_nothing_in_progress() {
            self.lapsed = false;
            self.queue.clear();
            self.cursor.restart();
        }
    }

    /// Whether there is neither a request in flight nor a read of the outbox.
    fn has_nothing_in_progress(&self) -> bool {
        self.requests == 0 && !self.cursor.is_in_progress()
    }

    /// Stores the binding's description, which outlives the binding.
    fn describe(&self) {
        let (context, binding) = (Arc::clone(&self.context), self.binding.clone());
        self.work.push(Box::pin(async move {
            context.persist(|| context.outbox.describe(&binding)).await;
            Done::Described
        }));
    }

    /// Reads the next page, if there may be one and there is room for it.
    fn read(&mut self) {
        if self.lapsed || !self.queue.has_room() {
            return;
        }
        let Some(after) = self.cursor.begin() else { return };
        self.queue.begin_read();
        let (outbox, id) = (self.context.outbox.clone(), self.id.clone());
        // If ordered, a result that is not due blocks those behind it.
        let not_due = (!self.policy.ordered).then(|| not_due(now_ms()));
        self.work.push(Box::pin(async move { Done::Read(outbox.page(&id, after, not_due, PAGE).await) }));
    }

    /// Probes the store.
    fn probe(&mut self) {
        self.connection.begin_probe();
        let sink = Arc::clone(&self.sink);
        self.work.push(Box::pin(async move { Done::Probed(sink.probe().await) }));
    }

    /// Reads the outbox from the start again, dead-letters results that are too old, and probes the store of
    /// an idle binding if a probe is due.
    fn poll(&mut self) {
        if self.context.outbox.has_pending(&self.id) {
            self.cursor.restart();
        }
        let oldest_ms = ago_ms(Duration::from_secs(self.policy.max_age_s));
        let old = self.queue.take_too_old(oldest_ms);
        if !old.is_empty() {
            let mut settlement = Settlement::default();
            let problem = self.connection.problem();
            old.iter().for_each(|waiting| settlement.too_old(&waiting.row, &self.policy, problem));
            self.record(old, settlement, Cause::Age);
        }
        let is_idle = self.requests == 0 && self.queue.is_empty();
        if is_idle && self.connection.is_probe_due() {
            self.probe();
        }
    }

    /// Sends the next batch.
    fn send(&mut self, (own, destination): (Pass, Pass)) {
        let rows = if self.lapsed { Vec::new() } else { self.queue.next_batch(self.batch()) };
        if rows.is_empty() {
            return;
        }
        self.requests += 1;
        let (context, sink) = (Arc::clone(&self.context), Arc::clone(&self.sink));
        let (store, policy) = (Arc::clone(&self.store), self.policy.clone());
        self.work.push(Box::pin(async move {
            let attempt = Attempt::begin(&store, &rows);
            let deliveries: Vec<_> = rows.iter().map(to_delivery).collect();
            let sent = Instant::now();
            let outcomes = attempt.deliver(&*sink, &deliveries).await;
            let duration = context.metrics.request_duration.with_label_values(&[&store.kind]);
            duration.observe(sent.elapsed().as_secs_f64());
            match outcomes {
                Err(away) => {
                    match away.scope {
                        FaultScope::Destination => destination.away(away.retry_after),
                        FaultScope::Binding => {
                            destination.answered();
                            own.away(away.retry_after);
                        }
                        FaultScope::Unknown => own.away(away.retry_after),
                    }
                    Done::Away { rows, sent, away, attempt }
                }
                Ok(outcomes) => {
                    own.answered();
                    destination.answered();
                    let mut settlement = judge(&rows, outcomes, &policy);
                    attempt.record(&mut settlement);
                    context.record(&store.kind, &settlement).await;
                    Done::Recorded { rows, settlement, cause: Cause::Answer }
                }
            }
        }));
    }

    /// Writes a settlement that does not come from an answer.
    fn record(&self, rows: Vec<Waiting>, settlement: Settlement, cause: Cause) {
        let (context, kind) = (Arc::clone(&self.context), self.kind.clone());
        self.work.push(Box::pin(async move {
            context.record(&kind, &settlement).await;
            Done::Recorded { rows, settlement, cause }
        }));
    }

    fn handle(&mut self, done: Done) {
        match done {
            Done::Described => {}
            Done::Read(page) => self.handle_page(page),
            Done::Probed(outcome) => {
                self.connection.probed(outcome);
                self.report_connection();
            }
            Done::Away { rows, sent, away, attempt } => self.handle_away(rows, sent, away, &attempt),
            Done::Recorded { rows, settlement, cause } => self.handle_recorded(rows, settlement, cause),
        }
    }

    fn handle_page(&mut self, page: Result<Page>) {
        let page = page.unwrap_or_else(|error| {
            tracing::debug!(binding = self.id, %error, "the outbox could not be read; trying again later");
            Page { rows: Vec::new(), more: false }
        });
        self.cursor.end(page.rows.last().map(|row| row.seq), page.more);
        self.queue.end_read(page.rows);
    }

    /// Puts back the results of a request that got no answer, unless the result itself is the cause.
    fn handle_away(&mut self, mut rows: Vec<Waiting>, sent: Instant, away: Away, attempt: &Attempt) {
        let metrics = &self.context.metrics;
        metrics.failed_attempts.with_label_values(&[self.kind.as_str(), "away"]).inc();
        let reason = String::from(away.reason);
        if away.scope == FaultScope::Unknown && self.is_cause(&mut rows) {
            tracing::debug!(binding = self.id, waited = ?sent.elapsed(), "a result gets no answer");
            let mut settlement = judge(&rows, vec![Outcome::Refused(Refusal::new(&reason))], &self.policy);
            attempt.record(&mut settlement);
            self.record(rows, settlement, Cause::NoAnswer);
        } else {
            self.requests -= 1;
            self.queue.put_back(rows);
        }
        self.connection.away(reason, away.shows_in_probe);
        self.report_connection();
    }

    /// Whether this is a single result that got no answer again, although the store has answered other
    /// requests of this binding in between. If several results got no answer again, the cause is found by
    /// bisection.
    fn is_cause(&mut self, rows: &mut [Waiting]) -> bool {
        let now = Instant::now();
        let before = rows.iter_mut().filter_map(|waiting| waiting.unanswered_at.replace(now)).max();
        match (before, rows.len()) {
            (Some(before), 1) => self.own.answered_since(before),
            (Some(_), count) => {
                self.max_rows = count / 2;
                false
            }
            (None, _) => false,
        }
    }

    fn handle_recorded(&mut self, rows: Vec<Waiting>, settlement: Settlement, cause: Cause) {
        if cause != Cause::Age {
            let refused = (settlement.postponed.len() + settlement.dead_lettered.len()) as u64;
            let failed = &self.context.metrics.failed_attempts;
            failed.with_label_values(&[self.kind.as_str(), "refused"]).inc_by(refused);
        }
        match cause {
            Cause::Answer => {
                self.requests -= 1;
                // Gradually: the result that was too much may still be queued.
                self.max_rows = self.max_rows.saturating_mul(2);
                match settlement.only_refused() {
                    Some(reason) => self.connection.refused(reason.to_owned()),
                    None => self.connection.delivered(),
                }
                self.report_connection();
            }
            Cause::NoAnswer => self.requests -= 1,
            Cause::Age => {}
        }
        if !settlement.delivered.is_empty() {
            self.report.active();
        }
        if !self.policy.ordered {
            // Postponed results are read again when they are due.
            self.queue.release(rows.iter().map(|waiting| waiting.row.seq));
            return;
        }
        for mut waiting in rows {
            match settlement.postponed.iter().find(|postponed| postponed.seq == waiting.row.seq) {
                Some(postponed) => {
                    waiting.row.attempts = postponed.attempts;
                    waiting.row.due_at_ms = postponed.due_at_ms;
                    self.queue.put_back(vec![waiting]);
                }
                None => self.queue.release([waiting.row.seq]),
            }
        }
    }

    fn report_connection(&self) {
        match self.connection.problem() {
            Some(problem) => self.report.retrying(problem),
            None => self.report.connected(),
        }
    }
}

fn judge(rows: &[Waiting], outcomes: Vec<Outcome>, policy: &Policy) -> Settlement {
    let mut settlement = Settlement::default();
    for (waiting, outcome) in rows.iter().zip(outcomes) {
        settlement.add(&waiting.row, outcome, policy, now_ms());
    }
    settlement
}

fn to_delivery(waiting: &Waiting) -> Delivery {
    Delivery { invocation_id: waiting.row.invocation_id.clone(), result: waiting.row.result.clone() }
}
