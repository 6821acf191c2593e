//! The courier of one binding.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use mesh::backoff::Backoff;
use mesh::bindings::{End, Report, Tenure};
use proto::registry::v1::FunctionBinding;
use tokio::time::{Instant, MissedTickBehavior};

use super::Couriers;
use super::breaker::{Breaker, Pass};
use super::judge::Judged;
use super::queue::{PAGE, Queue, Waiting};
use crate::error::Result;
use crate::kinds::{self, Away, Opened, Outcome, Parcel, Policy, Refusal, Sink, Whose};
use crate::outbox::{Page, now_ms};

/// How often the outbox is read for what other replicas took, and for what has become due.
const POLL_INTERVAL: Duration = Duration::from_secs(1);
/// An idle binding that is not connected tries to be so at such intervals, growing.
const FIRST_PROBE_AFTER: Duration = Duration::from_secs(1);
const LONGEST_PROBE_AFTER: Duration = Duration::from_secs(30);

/// Delivers for one binding.
pub(super) struct Courier<'a> {
    couriers: Arc<Couriers>,
    binding: FunctionBinding,
    id: String,
    kind: String,
    policy: Policy,
    sink: Arc<dyn Sink>,
    /// Of this binding alone.
    own: Arc<Breaker>,
    /// Of all who deliver there.
    destination: Arc<Breaker>,
    report: &'a Report,
    queue: Queue,
    /// What runs.
    work: FuturesUnordered<BoxFuture<'static, Done>>,
    requests: usize,
    reading: Reading,
    connection: Connection,
}

/// How far the outbox has been read.
struct Reading {
    after: i64,
    /// There may be something after that.
    more: bool,
    is_under_way: bool,
}

/// Whether the store is known to be there.
struct Connection {
    /// What hindered the last attempt.
    problem: Option<String>,
    probe_at: Instant,
    is_probing: bool,
    backoff: Backoff,
}

/// What has been done.
enum Done {
    Described,
    Read(Result<Page>),
    Probed(Result<(), Away>),
    /// A request has got no answer that says what became of its results.
    Away {
        rows: Vec<Waiting>,
        sent: Instant,
        away: Away,
    },
    /// What became of results is written.
    Recorded {
        rows: Vec<Waiting>,
        judged: Judged,
        request: bool,
    },
}

impl<'a> Courier<'a> {
    pub(super) fn new(couriers: Arc<Couriers>, binding: FunctionBinding, report: &'a Report) -> Self {
        let Opened { policy, sink } = kinds::open_any(&binding, &couriers.http);
        let it = binding.binding.clone().unwrap_or_default();
        Self {
            destination: couriers.breakers.of(sink.destination()),
            own: Breaker::new(),
            couriers,
            id: it.id,
            kind: it.r#type,
            queue: Queue::new(policy.ordered),
            policy,
            sink: Arc::from(sink),
            binding,
            report,
            work: FuturesUnordered::new(),
            requests: 0,
            reading: Reading { after: 0, more: true, is_under_way: false },
            connection: Connection {
                problem: None,
                probe_at: Instant::now(),
                is_probing: false,
                backoff: Backoff::new(FIRST_PROBE_AFTER, LONGEST_PROBE_AFTER),
            },
        }
    }

    /// Delivers until the tenure ends.
    pub(super) async fn run(&mut self, tenure: &Tenure) -> End {
        let arrivals = self.couriers.outbox.arrivals(&self.id);
        let (own, destination) = (Arc::clone(&self.own), Arc::clone(&self.destination));
        let mut poll = tokio::time::interval(POLL_INTERVAL);
        poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
        self.describe();
        self.probe();
        loop {
            self.read();
            let may_send = self.requests < self.max_requests() && self.queue.is_due(now_ms());
            let passes = async { (own.pass().await, destination.pass().await) };
            tokio::select! {
                end = tenure.ended() => return end,
                Some(done) = self.work.next(), if !self.work.is_empty() => self.take(done),
                passes = passes, if may_send => self.send(passes),
                () = arrivals.notified() => self.reading.more = true,
                _ = poll.tick() => self.poll(),
            }
        }
    }

    /// Ends when what is on its way has arrived.
    pub(super) async fn finish(&mut self) {
        while self.work.next().await.is_some() {}
    }

    fn max_requests(&self) -> usize {
        match self.policy {
            Policy { ordered: true, .. } => 1,
            Policy { max_in_flight, .. } => max_in_flight.unwrap_or(self.sink.batch().in_flight),
        }
    }

    /// Keeps what this binding is, for when it is gone.
    fn describe(&self) {
        let (couriers, binding) = (Arc::clone(&self.couriers), self.binding.clone());
        self.work.push(Box::pin(async move {
            couriers.persist(|| couriers.outbox.describe(&binding)).await;
            Done::Described
        }));
    }

    /// Reads on, if there may be something and there is room for it.
    fn read(&mut self) {
        if self.reading.is_under_way || !self.reading.more || !self.queue.has_room() {
            return;
        }
        (self.reading.is_under_way, self.reading.more) = (true, false);
        self.queue.begin_reading();
        let (outbox, id, after) = (self.couriers.outbox.clone(), self.id.clone(), self.reading.after);
        // In order, one that is not due holds up those behind it.
        let due_ms = (!self.policy.ordered).then(now_ms);
        self.work.push(Box::pin(async move { Done::Read(outbox.page(&id, after, due_ms, PAGE).await) }));
    }

    /// Asks the store whether it is there.
    fn probe(&mut self) {
        self.connection.is_probing = true;
        let sink = Arc::clone(&self.sink);
        self.work.push(Box::pin(async move { Done::Probed(sink.probe().await) }));
    }

    /// Looks again at everything from the front, gives up what is too old, and at an idle store.
    fn poll(&mut self) {
        if self.couriers.outbox.has_pending(&self.id) {
            (self.reading.after, self.reading.more) = (0, true);
        }
        let old = self.queue.take_too_old(&self.policy, now_ms());
        if !old.is_empty() {
            let mut judged = Judged::default();
            let problem = self.connection.problem.as_deref();
            old.iter().for_each(|waiting| judged.too_old(&waiting.row, &self.policy, problem));
            self.record(old, judged);
        }
        let is_idle = self.requests == 0 && self.queue.is_empty() && !self.connection.is_probing;
        if is_idle && self.connection.problem.is_some() && self.connection.probe_at <= Instant::now() {
            self.probe();
        }
    }

    /// Sends the next batch.
    fn send(&mut self, (own, destination): (Pass, Pass)) {
        let rows = self.queue.next_batch(self.sink.batch());
        if rows.is_empty() {
            return;
        }
        self.requests += 1;
        let (couriers, sink) = (Arc::clone(&self.couriers), Arc::clone(&self.sink));
        let (kind, policy) = (self.kind.clone(), self.policy.clone());
        self.work.push(Box::pin(async move {
            let parcels: Vec<_> = rows.iter().map(to_parcel).collect();
            let sent = Instant::now();
            let outcomes = sink.deliver(&parcels).await;
            let duration = couriers.metrics.request_duration.with_label_values(&[&kind]);
            duration.observe(sent.elapsed().as_secs_f64());
            match outcomes {
                Err(away) => {
                    match away.whose {
                        Whose::Destination | Whose::Silent => destination.away(away.retry_after),
                        Whose::Binding => {
                            destination.answered();
                            own.away(away.retry_after);
                        }
                    }
                    Done::Away { rows, sent, away }
                }
                Ok(outcomes) => {
                    own.answered();
                    destination.answered();
                    let judged = judge(&rows, outcomes, &policy);
                    couriers.record(&kind, &judged).await;
                    Done::Recorded { rows, judged, request: true }
                }
            }
        }));
    }

    /// Writes what was decided without a request.
    fn record(&self, rows: Vec<Waiting>, judged: Judged) {
        let (couriers, kind) = (Arc::clone(&self.couriers), self.kind.clone());
        self.work.push(Box::pin(async move {
            couriers.record(&kind, &judged).await;
            Done::Recorded { rows, judged, request: false }
        }));
    }

    fn take(&mut self, done: Done) {
        match done {
            Done::Described => {}
            Done::Read(page) => self.take_page(page),
            Done::Probed(Ok(())) => {
                self.connection.is_probing = false;
                self.connected();
            }
            Done::Probed(Err(away)) => {
                self.connection.is_probing = false;
                self.not_connected(away.reason);
            }
            Done::Away { rows, sent, away } => self.take_back(rows, sent, away),
            Done::Recorded { rows, judged, request } => self.take_recorded(rows, judged, request),
        }
    }

    fn take_page(&mut self, page: Result<Page>) {
        self.reading.is_under_way = false;
        let page = page.unwrap_or_else(|error| {
            tracing::debug!(binding = self.id, %error, "the outbox is not read; later again");
            Page { rows: Vec::new(), more: false }
        });
        self.reading.more |= page.more;
        self.reading.after = page.rows.last().map_or(self.reading.after, |row| row.seq);
        self.queue.end_reading(page.rows);
    }

    /// Nothing is known of these. Who is away is not asked again for each of them; but one whose store
    /// falls silent at it again, having answered to others in between, is the cause.
    fn take_back(&mut self, mut rows: Vec<Waiting>, sent: Instant, away: Away) {
        self.requests -= 1;
        let metrics = &self.couriers.metrics;
        metrics.failed_attempts.with_label_values(&[self.kind.as_str(), "away"]).inc();
        if let ([one], Whose::Silent) = (rows.as_mut_slice(), away.whose) {
            let before = one.unanswered_at.replace(Instant::now());
            if before.is_some_and(|before| self.destination.answered_since(before)) {
                let refusal = Refusal { reason: away.reason.clone(), retry_after: None };
                let judged = judge(&rows, vec![Outcome::Refused(refusal)], &self.policy);
                tracing::debug!(binding = self.id, waited = ?sent.elapsed(), "a result silences its store");
                self.record(rows, judged);
                self.not_connected(away.reason);
                return;
            }
        }
        self.queue.put_back(rows);
        self.not_connected(away.reason);
    }

    fn take_recorded(&mut self, rows: Vec<Waiting>, judged: Judged, request: bool) {
        if request {
            self.requests -= 1;
            self.connected();
        }
        if !judged.delivered.is_empty() {
            self.report.active();
        }
        if !self.policy.ordered {
            // What is postponed is read again when it is due.
            self.queue.forget(rows.iter().map(|waiting| waiting.row.seq));
            return;
        }
        for mut waiting in rows {
            match judged.postponed.iter().find(|postponed| postponed.seq == waiting.row.seq) {
                Some(postponed) => {
                    waiting.row.attempts = postponed.attempts;
                    waiting.row.due_at_ms = postponed.due_at_ms;
                    self.queue.put_back(vec![waiting]);
                }
                None => self.queue.forget([waiting.row.seq]),
            }
        }
    }

    fn connected(&mut self) {
        self.connection.problem = None;
        self.connection.backoff.reset();
        self.report.connected();
    }

    fn not_connected(&mut self, problem: String) {
        self.report.retrying(problem.clone());
        self.connection.problem = Some(problem);
        self.connection.probe_at = Instant::now() + self.connection.backoff.next_wait();
    }
}

fn judge(rows: &[Waiting], outcomes: Vec<Outcome>, policy: &Policy) -> Judged {
    let mut judged = Judged::default();
    for (waiting, outcome) in rows.iter().zip(outcomes) {
        judged.add(&waiting.row, outcome, policy, now_ms());
    }
    judged
}

fn to_parcel(waiting: &Waiting) -> Parcel {
    Parcel { invocation_id: waiting.row.invocation_id.clone(), result: waiting.row.result.clone() }
}
