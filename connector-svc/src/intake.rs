//! The event pipeline, shared by all connector kinds: an event is written to the journal, handled by its function,
//! and ended, so that its source can be told.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh::backoff::Backoff;
use mesh::clock::{ago_ms, now_ms};
use mesh::group_commit::Closed;
use mesh::log_limit::LogLimit;
use mesh::telemetry::{self, TraceParent, Traced as _};
use opentelemetry::trace::TraceContextExt as _;
use proto::scheduler::v1::InvokeRequest;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;
use tracing::field::display;
use uuid::Uuid;

use crate::arrival::{Abandoned, Arrival};
use crate::binding::BoundFunction;
use crate::dead_letter::{FailedEvent, FailedPayload};
use crate::event::Event;
use crate::handling::{Handling, OnInvalid};
use crate::invoker::Invoker;
use crate::journal::{self, Change, DeadLetterRecord, Entry, Journal, Write};
use crate::keyed_mutex::KeyedMutex;
use crate::metrics::KindMetrics;
use crate::retries::{Retries, Retry};
use crate::trace::{Origin, event_span, keep_dead_lettered};

/// Entries that are removed from the journal in one write.
const CLEANUP_BATCH: usize = 256;

/// How often a binding logs that events are invalid, at most.
const INVALID_LOG_INTERVAL: Duration = Duration::from_secs(10);

/// How long a removed binding waits for the journal.
const MARK_LOST_TIMEOUT: Duration = Duration::from_secs(3);

/// Handles the events of one binding. Clones share it.
#[derive(Debug, Clone)]
pub(crate) struct Intake {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    bound: Arc<BoundFunction>,
    origin: Origin,
    handling: Handling,
    /// The registry's revision that has the function and its binding.
    revision: u64,
    /// The holder's fencing epoch; see [`Change`].
    epoch: u64,
    journal: Journal,
    invoker: Invoker,
    metrics: KindMetrics,
    stopping: CancellationToken,
    running: KeyedMutex,
    invalid_log: LogLimit,
}

/// An event that is ready to be handled.
struct Work {
    /// Its id in the journal, if it has an entry there.
    entry_id: Option<Uuid>,
    invocation_id: Uuid,
    received_at_ms: i64,
    args: Bytes,
    trace: EventTrace,
}

/// The span of an event.
struct EventTrace {
    span: Span,
    /// It is not the root of its trace.
    has_parent: bool,
}

/// The final outcome of an event.
enum Outcome {
    Handled,
    Failed { reason: String, attempts: u32 },
}

impl Intake {
    /// Becomes the holder of a binding, as the registry has it at `revision`. Waits for a database that is away.
    pub(crate) async fn open(
        bound: BoundFunction,
        (origin, handling): (Origin, Handling),
        revision: u64,
        journal: Journal,
        invoker: Invoker,
        metrics: KindMetrics,
    ) -> Result<Self, Closed> {
        let bound = Arc::new(bound);
        let change = Change::Open(Arc::clone(&bound));
        let epoch = journal.write(Write { binding_id: Arc::clone(&bound.binding_id), change }).await?;
        let shared = Shared {
            bound,
            origin,
            handling,
            revision,
            epoch,
            journal,
            invoker,
            metrics,
            stopping: CancellationToken::new(),
            running: KeyedMutex::default(),
            invalid_log: LogLimit::new(INVALID_LOG_INTERVAL),
        };
        Ok(Self { shared: Arc::new(shared) })
    }

    /// The binding's id.
    pub(crate) fn binding_id(&self) -> &str {
        &self.shared.bound.binding_id
    }

    /// How events are handled.
    pub(crate) fn handling(&self) -> &Handling {
        &self.shared.handling
    }

    /// The holder's fencing epoch in the journal.
    pub(crate) fn epoch(&self) -> u64 {
        self.shared.epoch
    }

    /// The metrics of its kind.
    pub(crate) fn metrics(&self) -> &KindMetrics {
        &self.shared.metrics
    }

    /// The binding's entries in the journal. Waits for a database that is away.
    pub(crate) async fn entries(&self) -> Vec<Entry> {
        let mut backoff = Backoff::reconnect();
        loop {
            match self.shared.journal.entries(self.binding_id()).await {
                Ok(entries) => return entries,
                Err(error) => tracing::debug!(%error, "the journal cannot be read yet; trying again"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// The binding's cursor, if it is set. Waits for a database that is away.
    pub(crate) async fn cursor(&self) -> Option<i64> {
        let mut backoff = Backoff::reconnect();
        loop {
            match self.shared.journal.cursor(self.binding_id()).await {
                Ok(cursor) => return cursor,
                Err(error) => tracing::debug!(%error, "the journal cannot be read yet; trying again"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// Writes a change of the binding; see [`Journal::write`].
    pub(crate) async fn write(&self, change: Change) -> Result<u64, Closed> {
        self.shared.journal.write(self.of_binding(change)).await
    }

    /// Makes one attempt to write; see [`Journal::try_write`].
    pub(crate) async fn try_write(&self, change: Change) -> Result<journal::Result<u64>, Closed> {
        self.shared.journal.try_write(self.of_binding(change)).await
    }

    fn of_binding(&self, change: Change) -> Write {
        Write { binding_id: Arc::clone(&self.shared.bound.binding_id), change }
    }

    /// Removes entries from the journal: of events that are lost, and of those whose source knows that they ended.
    pub(crate) async fn clean_up(&self, lost: Vec<Uuid>, cleared: Vec<Uuid>) -> Result<(), Closed> {
        for ids in lost.chunks(CLEANUP_BATCH) {
            let events = self.write(Change::MarkLost(ids.to_vec())).await?;
            tracing::info!(
                binding = self.binding_id(),
                events,
                "the source does not have these events any more; they are lost"
            );
            self.shared.metrics.lost.inc_by(events);
        }
        for ids in cleared.chunks(CLEANUP_BATCH) {
            self.write(Change::Clear(ids.to_vec())).await?;
        }
        Ok(())
    }

    /// Begins an event, unless another replica has taken over the binding.
    async fn begin(&self, change: Change) -> Result<(), Abandoned> {
        if self.write(change).await? == 0 {
            tracing::info!(binding = self.binding_id(), "another replica has taken over the binding");
            return Err(Abandoned);
        }
        self.shared.metrics.received.inc();
        Ok(())
    }

    /// The binding is removed: its events in flight are lost.
    pub(crate) async fn mark_all_lost(&self) {
        let written = Box::pin(self.write(Change::MarkAllLost));
        match tokio::time::timeout(MARK_LOST_TIMEOUT, written).await {
            Ok(Ok(events)) => self.shared.metrics.lost.inc_by(events),
            // The sweep finds them later.
            Ok(Err(_)) | Err(_) => {
                tracing::debug!(binding = self.binding_id(), "its events are not marked as lost yet");
            }
        }
    }

    /// The binding stops: from now on there are no retries.
    pub(crate) fn stop(&self) {
        self.shared.stopping.cancel();
    }

    /// Handles an event. After `Ok`, which has the id of the event's entry in the journal, if any, its source need
    /// not send it again: it has been handled, was invalid, or is a dead letter.
    ///
    /// This is one span, in the trace of the event's sender, or the root of a trace. An event that is in the
    /// journal already is linked to the span of its first receipt.
    pub(crate) async fn handle(&self, event: Event, arrival: Arrival) -> Result<Option<Uuid>, Abandoned> {
        let span = self.event_span(Some(&event));
        if let Arrival::Again(entry) = &arrival {
            telemetry::link(&span, entry.trace);
        }
        let parent = telemetry::parent_of(&event.trace());
        let trace = EventTrace { span: span.clone(), has_parent: parent.has_active_span() };
        let outcome = self.take(event, arrival, trace).traced(span.clone(), parent).await;
        outcome.inspect_err(|Abandoned| telemetry::failed(&span, "abandoned"))
    }

    /// The span of an event of the binding; for a firing there is no `event`.
    pub(crate) fn event_span(&self, event: Option<&Event>) -> Span {
        event_span(&self.shared.bound, &self.shared.origin, event)
    }

    async fn take(
        &self,
        event: Event,
        arrival: Arrival,
        trace: EventTrace,
    ) -> Result<Option<Uuid>, Abandoned> {
        let handling = &self.shared.handling;
        let args = match event.args(handling) {
            Ok(args) => args,
            Err(problem) => return self.reject(&event, arrival, problem, &trace).await,
        };
        let binding_id = self.binding_id();
        let derived_id = event.invocation_id(binding_id, handling.dedupe_key.as_ref());
        let received_at_ms = now_ms();
        let (entry_id, invocation_id, received_at_ms) = match arrival {
            Arrival::Again(entry) => (Some(entry.id), entry.invocation_id, entry.received_at_ms),
            Arrival::Once => {
                self.shared.metrics.received.inc();
                (None, derived_id.unwrap_or_else(Uuid::now_v7), received_at_ms)
            }
            Arrival::First { key, fingerprint, invocation_id } => {
                let id = Uuid::now_v7();
                let invocation_id = derived_id.or(invocation_id).unwrap_or_else(Uuid::now_v7);
                let entry = Entry {
                    id,
                    key,
                    fingerprint,
                    invocation_id,
                    received_at_ms,
                    args: None,
                    ended: false,
                    trace: TraceParent::current(),
                };
                self.begin(Change::Begin { epoch: self.epoch(), entry }).await?;
                (Some(id), invocation_id, received_at_ms)
            }
        };
        let work = Work { entry_id, invocation_id, received_at_ms, args, trace };
        self.work(work).await?;
        Ok(entry_id)
    }

    /// Handles an event that is in the journal with the function's argument. `begun` is its span if it has just
    /// begun. One that a former holder has begun continues its trace.
    pub(crate) async fn resume(&self, entry: Entry, begun: Option<Span>) -> Result<(), Abandoned> {
        // A span that has begun has its parent already.
        let parent = entry.trace.map(TraceParent::context).unwrap_or_default();
        let has_parent = begun.is_none() && parent.has_active_span();
        let span = begun.unwrap_or_else(|| self.event_span(None));
        let work = Work {
            entry_id: Some(entry.id),
            invocation_id: entry.invocation_id,
            received_at_ms: entry.received_at_ms,
            args: entry.args.unwrap_or_default(),
            trace: EventTrace { span: span.clone(), has_parent },
        };
        let outcome = self.work(work).traced(span.clone(), parent).await;
        outcome.inspect_err(|Abandoned| telemetry::failed(&span, "abandoned"))
    }

    /// Ends an invalid event: as a dead letter, unless the binding drops such events.
    async fn reject(
        &self,
        event: &Event,
        arrival: Arrival,
        reason: String,
        trace: &EventTrace,
    ) -> Result<Option<Uuid>, Abandoned> {
        self.log_invalid(&reason);
        let (invocation_id, received_at_ms) = match &arrival {
            Arrival::Once => (Uuid::now_v7(), now_ms()),
            Arrival::First { invocation_id, .. } => (invocation_id.unwrap_or_else(Uuid::now_v7), now_ms()),
            Arrival::Again(entry) => (entry.invocation_id, entry.received_at_ms),
        };
        let letter = match self.shared.handling.on_invalid {
            OnInvalid::Drop => {
                telemetry::failed(&trace.span, "invalid");
                None
            }
            OnInvalid::DeadLetter => {
                let payload =
                    FailedPayload::Invalid { kept: event.kept_payload(), size: event.payload.len() };
                let failed = FailedEvent { invocation_id, received_at_ms, reason, attempts: 0, payload };
                Some(self.dead_letter(failed, trace))
            }
        };
        let is_letter = letter.is_some();
        let metrics = &self.shared.metrics;
        let (id, ended) = match arrival {
            Arrival::Once => {
                metrics.received.inc();
                (None, self.write(Change::Pass { invalid: true, letter }).await?)
            }
            Arrival::First { key, fingerprint, .. } => {
                let id = Uuid::now_v7();
                let trace = TraceParent::current();
                let (args, ended) = (None, true);
                let entry = Entry { id, key, fingerprint, invocation_id, received_at_ms, args, ended, trace };
                self.begin(Change::Invalid { epoch: self.epoch(), entry, letter }).await?;
                (Some(id), 1)
            }
            // It was valid once: the binding's parameters have changed.
            Arrival::Again(entry) => {
                (Some(entry.id), self.write(Change::End { id: entry.id, invalid: true, letter }).await?)
            }
        };
        metrics.invalid.inc_by(ended);
        if is_letter {
            metrics.dead_lettered.inc_by(ended);
        }
        metrics.acknowledged.inc();
        Ok(id)
    }

    fn log_invalid(&self, reason: &str) {
        let Shared { bound, handling, invalid_log, .. } = &*self.shared;
        if let Some(suppressed) = invalid_log.allow(Instant::now()) {
            let BoundFunction { binding_id, module, function, .. } = &**bound;
            let outcome = match handling.on_invalid {
                OnInvalid::DeadLetter => "dead-lettered",
                OnInvalid::Drop => "dropped",
            };
            tracing::warn!(%binding_id, module, function, reason, outcome, suppressed, "an event is invalid");
        }
    }

    /// The dead letter of an event, whose span is kept even if its trace is not sampled.
    fn dead_letter(&self, failed: FailedEvent, trace: &EventTrace) -> Box<DeadLetterRecord> {
        let letter = failed.into_dead_letter(&self.shared.bound);
        telemetry::failed(&trace.span, "dead_letter");
        trace.span.record("faas.invocation_id", &letter.invocation_id);
        trace.span.record("funless.dead_letter.id", &letter.id);
        keep_dead_lettered(&trace.span, trace.has_parent, &self.shared.origin, &letter);
        Box::new(DeadLetterRecord { letter, trace: TraceParent::current() })
    }

    async fn work(&self, work: Work) -> Result<(), Abandoned> {
        let metrics = &self.shared.metrics;
        let _in_flight = InFlight::count(metrics);
        let started = Instant::now();
        let span = &work.trace.span;
        span.record("faas.invocation_id", display(work.invocation_id));
        span.record("funless.event_id", work.entry_id.map(display));
        let outcome = {
            // A duplicate waits until the first one has ended.
            let _guard = match self.shared.handling.dedupe_key {
                Some(_) => Some(self.shared.running.lock(work.invocation_id).await),
                None => None,
            };
            self.invoke(&work).await?
        };
        let letter = match outcome {
            Outcome::Handled => None,
            Outcome::Failed { reason, attempts } => {
                tracing::warn!(binding = self.binding_id(), invocation = %work.invocation_id, reason,
                    "an event becomes a dead letter");
                let failed = FailedEvent {
                    invocation_id: work.invocation_id,
                    received_at_ms: work.received_at_ms,
                    reason,
                    attempts,
                    payload: FailedPayload::Args(work.args.clone()),
                };
                Some(self.dead_letter(failed, &work.trace))
            }
        };
        let is_letter = letter.is_some();
        let change = match work.entry_id {
            Some(id) => Change::End { id, invalid: false, letter },
            None => Change::Pass { invalid: false, letter },
        };
        let found = self.write(change).await?;
        if is_letter {
            metrics.dead_lettered.inc_by(found);
        }
        metrics.acknowledged.inc();
        metrics.duration.observe(started.elapsed().as_secs_f64());
        Ok(())
    }

    /// Invokes the function until that succeeds or fails for good, always as the same invocation.
    async fn invoke(&self, work: &Work) -> Result<Outcome, Abandoned> {
        let shared = &self.shared;
        let mut retries = Retries::default();
        loop {
            let request = InvokeRequest {
                module: shared.bound.module.clone(),
                function: shared.bound.function.clone(),
                function_id: shared.bound.function_id.clone(),
                args: work.args.clone(),
                min_revision: shared.revision,
                invocation_id: work.invocation_id.to_string(),
                scheduling: None,
                latest_revision: 0,
            };
            let Err(failure) = shared.invoker.invoke(request, None).await else {
                return Ok(Outcome::Handled);
            };
            let Retry { message, wait } = match retries.after(failure, &shared.handling, &shared.metrics) {
                Ok(retry) => retry,
                Err(reason) => return Ok(Outcome::Failed { reason, attempts: retries.attempts }),
            };
            if work.received_at_ms <= ago_ms(Duration::from_secs(shared.handling.max_age_s)) {
                let reason = format!("it waited for longer than max_age_s: {message}");
                return Ok(Outcome::Failed { reason, attempts: retries.attempts });
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = shared.stopping.cancelled() => return Err(Abandoned),
            }
        }
    }
}

/// An event in flight, as metrics count it.
struct InFlight<'a>(&'a KindMetrics);

impl<'a> InFlight<'a> {
    fn count(metrics: &'a KindMetrics) -> Self {
        metrics.in_flight.inc();
        Self(metrics)
    }
}

impl Drop for InFlight<'_> {
    fn drop(&mut self) {
        self.0.in_flight.dec();
    }
}
