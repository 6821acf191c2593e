//! Chooses a worker, calls it, and tries another one if that is safe.

use std::mem::take;
use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::deadline::Deadline;
use mesh::receipt::{self, Receipt, micros};
use mesh::{Error, Reason, inner_span};
use parking_lot::Mutex;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng as _};
use tracing::Span;
use tracing::field::Empty;

use crate::cluster::{Cluster, Reservation};
use crate::decisions::{Decision, DecisionNumber, Decisions};
use crate::error::SchedulingError;
use crate::explain;
use crate::invocation::PendingInvocation;
use crate::membership::{Contact, Members};
use crate::metrics::Metrics;
use crate::policy::{self, Refusal};

/// How long before the deadline an invocation is refused that waits for a worker to join: the caller learns why.
const TIME_TO_REFUSE: Duration = Duration::from_millis(10);

/// Sends invocations to workers. Clones share their state.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    scheduler_id: Arc<str>,
    members: Arc<Members>,
    chooser: Arc<Chooser>,
    metrics: Metrics,
}

/// What choices need beside the cluster. Lock it after the cluster.
#[derive(Debug)]
struct Chooser {
    rng: Mutex<Xoshiro256PlusPlus>,
    decisions: Mutex<Decisions>,
}

/// A chosen worker with memory reserved on it. Dropping it releases the reservation, also when the caller
/// goes away.
struct Placement {
    members: Arc<Members>,
    chooser: Arc<Chooser>,
    worker: Arc<str>,
    contact: Contact,
    reservation: Reservation,
    decision: DecisionNumber,
}

impl Drop for Placement {
    fn drop(&mut self) {
        // The time is taken under the lock, so that times and releases have the same order.
        let mut cluster = self.members.cluster();
        cluster.release(&self.reservation);
        self.chooser.decisions.lock().ended(self.decision, Instant::now());
    }
}

impl Dispatcher {
    /// Dispatches to `members`, and remembers up to `remembered` decisions. `seed` is that of the strategy
    /// `random`; `None`: any.
    pub fn new(members: Arc<Members>, metrics: Metrics, remembered: usize, seed: Option<u64>) -> Self {
        let rng = match seed {
            Some(seed) => Xoshiro256PlusPlus::seed_from_u64(seed),
            None => Xoshiro256PlusPlus::from_rng(&mut rand::rng()),
        };
        let scheduler_id: Arc<str> = members.cluster().scheduler_id().into();
        let decisions = Decisions::new(&scheduler_id, remembered, Instant::now());
        let chooser = Chooser { rng: Mutex::new(rng), decisions: Mutex::new(decisions) };
        Self { scheduler_id, members, chooser: Arc::new(chooser), metrics }
    }

    /// The id of this scheduler, which workers report.
    pub fn scheduler_id(&self) -> &str {
        &self.scheduler_id
    }

    /// Runs a function on the worker that the policy chooses. If the run has not started, another worker is
    /// tried. A run that may have started is repeated only if the function is idempotent. Records in
    /// `receipt` the cost of the last attempt, and the choices of all attempts.
    pub async fn dispatch(
        &self,
        invocation: &PendingInvocation,
        request: ExecuteRequest,
        deadline: Deadline,
        receipt: &mut Receipt,
    ) -> Result<ExecuteResponse, Error> {
        let mut tried = Vec::new();
        let (mut last_failure, mut lost_on) = (None, None);
        loop {
            let began = Instant::now();
            let placement = self.place_or_wait(invocation, &tried, deadline, &mut receipt.decision_id).await;
            receipt.schedule_us += micros(began.elapsed());
            let placement =
                placement.map_err(|refusal| none_left(refusal, last_failure.take(), lost_on.take()))?;
            placement.worker.as_ref().clone_into(&mut receipt.worker);
            receipt.attempts += 1;
            let failure = match placement.contact.execute(request.clone(), deadline).await {
                Ok(response) => {
                    add_worker_costs(receipt, receipt::of(response.metadata()));
                    return Ok(response.into_inner());
                }
                Err(status) => {
                    add_worker_costs(receipt, receipt::of(status.metadata()));
                    Error::from(status)
                }
            };
            let lost = failure.reason == Reason::ConnectionLost;
            if lost {
                let idempotent =
                    invocation.function.metadata.as_ref().is_some_and(|metadata| metadata.idempotent);
                if !idempotent {
                    return Err(worker_lost(&placement.worker));
                }
                lost_on.get_or_insert_with(|| Arc::clone(&placement.worker));
            } else if !failure.not_started() {
                return Err(failure);
            }
            tracing::debug!(worker = &*placement.worker, %failure, "trying another worker");
            self.metrics.count_retry(failure.reason);
            tried.push(placement.worker.to_string());
            last_failure = Some(failure);
        }
    }

    /// Chooses a worker. A scheduler that has just started knows only the workers that have joined so far: if none of
    /// them will do, it waits for others. Sets `decision_id`.
    async fn place_or_wait(
        &self,
        invocation: &PendingInvocation,
        tried: &[String],
        deadline: Deadline,
        decision_id: &mut String,
    ) -> Result<Placement, Refusal> {
        if let Some(mut joins) = self.members.expected_joins().filter(|_| tried.is_empty()) {
            // Only the choice that counts is remembered.
            let may_change = || {
                let outcome = self.hypothesize(invocation).choice.outcome;
                matches!(outcome, Err(Refusal::NoWorkers | Refusal::NoValidWorkers))
            };
            while may_change() && joins.next(deadline.earlier(TIME_TO_REFUSE)).await {}
        }
        self.place(invocation, tried, decision_id)
    }

    /// Chooses a worker and reserves memory there in one step, under one lock. Sets `decision_id`.
    fn place(
        &self,
        invocation: &PendingInvocation,
        tried: &[String],
        decision_id: &mut String,
    ) -> Result<Placement, Refusal> {
        let span = choice_span(invocation);
        let mut cluster = self.members.cluster();
        let decision = decide(invocation, &cluster, tried, &mut *self.chooser.rng.lock());
        record_choice(&span, &decision);
        let outcome = decision.choice.outcome;
        let number = {
            let mut decisions = self.chooser.decisions.lock();
            let number = decisions.push(decision);
            *decision_id = decisions.id(number);
            number
        };
        let placement = outcome.map(|index| {
            let required = invocation.requirements();
            let (reservation, contact) = cluster.reserve(index, required.tag, required.capacity);
            let contact = contact.clone();
            Placement {
                members: Arc::clone(&self.members),
                chooser: Arc::clone(&self.chooser),
                worker: Arc::clone(&cluster.workers()[index as usize].name),
                contact,
                reservation,
                decision: number,
            }
        });
        drop(cluster);
        span.record("funless.decision", &**decision_id);
        self.metrics.count_decision(outcome.err());
        placement
    }

    /// The decision that would be made now. Reserves nothing, and does not advance the random generator.
    pub fn hypothesize(&self, invocation: &PendingInvocation) -> Decision {
        let mut rng = self.chooser.rng.lock().clone();
        decide(invocation, &self.members.cluster(), &[], &mut rng)
    }

    /// The remembered decisions. Do not hold them across an await.
    pub fn decisions(&self) -> parking_lot::MutexGuard<'_, Decisions> {
        self.chooser.decisions.lock()
    }
}

/// Adds what a worker says that a run cost.
fn add_worker_costs(receipt: &mut Receipt, worker_costs: Receipt) {
    *receipt = Receipt {
        schedule_us: receipt.schedule_us,
        attempts: receipt.attempts,
        worker: take(&mut receipt.worker),
        decision_id: take(&mut receipt.decision_id),
        ..worker_costs
    };
}

fn choice_span(invocation: &PendingInvocation) -> Span {
    inner_span!(
        "choose",
        otel.status_code = Empty,
        funless.policy = invocation.policy.name.as_deref().unwrap_or("default"),
        funless.candidates = Empty,
        funless.chosen = Empty,
        funless.refusal = Empty,
        funless.reason = Empty,
        funless.decision = Empty,
    )
}

fn record_choice(span: &Span, decision: &Decision) {
    if span.is_disabled() {
        return;
    }
    span.record("funless.candidates", decision.names.len());
    span.record("funless.reason", explain::reason(decision));
    match decision.choice.outcome {
        Ok(index) => span.record("funless.chosen", &*decision.names[index as usize]),
        Err(refusal) => {
            span.record("otel.status_code", "ERROR");
            span.record("funless.refusal", refusal.as_str())
        }
    };
}

/// Chooses a worker for `invocation`, except those named in `tried`. Reserves nothing.
pub fn decide<C>(
    invocation: &PendingInvocation,
    cluster: &Cluster<C>,
    tried: &[String],
    rng: &mut impl Rng,
) -> Decision {
    let PendingInvocation { function, policy } = invocation;
    let requirements = invocation.requirements();
    let choice = policy::choose(&policy.script, &requirements, cluster.workers(), tried, rng);
    Decision {
        function: Arc::clone(function),
        policy: policy.clone(),
        names: Arc::clone(cluster.names()),
        choice: Arc::new(choice),
        at_ms: mesh::clock::now_ms(),
        at: Instant::now(),
        ended: None,
    }
}

/// No worker is left to try. If a worker was lost, the function may have run there. Otherwise the failure of the last
/// attempt says more than the refusal.
fn none_left(refusal: Refusal, last_failure: Option<Error>, lost_on: Option<Arc<str>>) -> Error {
    match (lost_on, last_failure) {
        (Some(worker), _) => worker_lost(&worker),
        (None, None) => SchedulingError::Refused(refusal).into(),
        (None, Some(failure)) if failure.reason == Reason::Overloaded => failure,
        (None, Some(failure)) => {
            tracing::warn!(%failure, "no worker could be reached");
            SchedulingError::NoneReachable.into()
        }
    }
}

fn worker_lost(worker: &Arc<str>) -> Error {
    SchedulingError::WorkerLost { worker: worker.to_string() }.into()
}
