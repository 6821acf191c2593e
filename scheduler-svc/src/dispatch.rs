//! Choose a worker, call it, classify what went wrong, try the next.

use std::mem::take;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::receipt::{self, Receipt, micros};
use mesh::{Error, Reason, inner_span};
use parking_lot::Mutex;
use proto::DEFAULT_CAPACITY_KB;
use proto::registry::v1::Function;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{Rng, SeedableRng as _};
use tracing::Span;
use tracing::field::Empty;

use crate::cluster::{Cluster, KB, Reservation};
use crate::decisions::{Decision, DecisionNumber, Decisions, Policy};
use crate::error::SchedulingError;
use crate::explain;
use crate::membership::{Contact, Members};
use crate::metrics::Metrics;
use crate::policy::{self, Ask, Refusal};

/// Sends invocations to workers. Clones share what they remember.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    scheduler_id: Arc<str>,
    members: Arc<Members>,
    chooser: Arc<Chooser>,
    metrics: Metrics,
}

/// What choices need beside the cluster. Locked after it.
#[derive(Debug)]
struct Chooser {
    rng: Mutex<Xoshiro256PlusPlus>,
    decisions: Mutex<Decisions>,
}

/// One invocation to be placed.
#[derive(Debug, Clone)]
pub struct Placing {
    /// What is invoked.
    pub function: Arc<Function>,
    /// Who says where it may run.
    pub policy: Policy,
}

impl Placing {
    /// The function's tag; empty for none.
    pub fn tag(&self) -> &str {
        tag_of(&self.function)
    }

    /// What to reserve for the function, in bytes.
    pub fn capacity(&self) -> u64 {
        capacity_kb_of(&self.function).saturating_mul(KB)
    }
}

/// A chosen worker with a place reserved on it. Dropping it gives the place back, also when the
/// caller goes away.
struct Place {
    members: Arc<Members>,
    chooser: Arc<Chooser>,
    worker: Arc<str>,
    contact: Contact,
    reservation: Reservation,
    decision: DecisionNumber,
}

impl Drop for Place {
    fn drop(&mut self) {
        // The time is taken under the lock: of two ends the order of the times is that of the releases.
        let mut cluster = self.members.cluster();
        cluster.release(&self.reservation);
        self.chooser.decisions.lock().ended(self.decision, Instant::now());
    }
}

impl Dispatcher {
    /// Dispatches to `members`, and remembers as many decisions. The strategy `random` draws from a
    /// generator with this seed; `None`: any.
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

    /// What names this scheduler to workers.
    pub fn scheduler_id(&self) -> &str {
        &self.scheduler_id
    }

    /// Runs a function on the worker that the policy chooses. A worker that could not be reached
    /// before the run started is skipped and the next one tried; a run that may have started is
    /// repeated only when the function is idempotent. `receipt` learns what it costs: of several attempts
    /// the last one, and the choices of all.
    pub async fn dispatch(
        &self,
        placing: &Placing,
        request: ExecuteRequest,
        deadline: Deadline,
        receipt: &mut Receipt,
    ) -> Result<ExecuteResponse, Error> {
        let mut tried = Vec::new();
        let mut last_failure = None;
        loop {
            let asked = Instant::now();
            let place = self.place(placing, &tried, &mut receipt.decision_id);
            receipt.schedule_us += micros(asked.elapsed());
            let place = place.map_err(|refusal| none_left(refusal, last_failure.take()))?;
            place.worker.as_ref().clone_into(&mut receipt.worker);
            receipt.attempts += 1;
            let call = deadline.attach(request.clone());
            let failure = match place.contact.execution().execute(call).await {
                Ok(response) => {
                    add_workers_part(receipt, receipt::of(response.metadata()));
                    return Ok(response.into_inner());
                }
                Err(status) => {
                    add_workers_part(receipt, receipt::of(status.metadata()));
                    Error::from(status)
                }
            };
            let lost = failure.reason == Reason::ConnectionLost;
            let idempotent = placing.function.metadata.as_ref().is_some_and(|metadata| metadata.idempotent);
            if lost && !idempotent {
                return Err(SchedulingError::WorkerLost { worker: place.worker.to_string() }.into());
            }
            if !lost && !failure.not_started() {
                return Err(failure);
            }
            tracing::debug!(worker = &*place.worker, %failure, "trying another worker");
            self.metrics.retried(failure.reason);
            tried.push(place.worker.to_string());
            last_failure = Some(failure);
        }
    }

    /// Chooses a worker and reserves a place there, as one step: nobody chooses in between. `decision_id`
    /// learns the decision's id.
    fn place(&self, placing: &Placing, tried: &[String], decision_id: &mut String) -> Result<Place, Refusal> {
        let span = choice_span(placing);
        let mut cluster = self.members.cluster();
        let decision = decide(placing, &cluster, tried, &mut *self.chooser.rng.lock());
        record_choice(&span, &decision);
        let outcome = decision.choice.outcome;
        let number = {
            let mut decisions = self.chooser.decisions.lock();
            let number = decisions.push(decision);
            *decision_id = decisions.id(number);
            number
        };
        let place = outcome.map(|index| {
            let (reservation, contact) = cluster.reserve(index, placing.tag(), placing.capacity());
            let contact = contact.clone();
            Place {
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
        self.metrics.decided(outcome.err());
        place
    }

    /// What would be chosen now. Nothing is reserved, and nothing of the generator is used up.
    pub fn hypothesize(&self, placing: &Placing) -> Decision {
        let mut rng = self.chooser.rng.lock().clone();
        decide(placing, &self.members.cluster(), &[], &mut rng)
    }

    /// A look at what is remembered. Held for moments only, never across an await.
    pub fn decisions(&self) -> parking_lot::MutexGuard<'_, Decisions> {
        self.chooser.decisions.lock()
    }
}

/// Adds to the scheduler's part of a receipt what the worker has put into its own.
fn add_workers_part(receipt: &mut Receipt, workers: Receipt) {
    *receipt = Receipt {
        schedule_us: receipt.schedule_us,
        attempts: receipt.attempts,
        worker: take(&mut receipt.worker),
        decision_id: take(&mut receipt.decision_id),
        ..workers
    };
}

fn choice_span(placing: &Placing) -> Span {
    inner_span!(
        "choose",
        otel.status_code = Empty,
        funless.policy = placing.policy.name.as_deref().unwrap_or("default"),
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

/// Chooses a worker for `placing` in the cluster as it is now. Nothing is reserved. Workers named in `tried`
/// are not valid.
pub fn decide<C>(placing: &Placing, cluster: &Cluster<C>, tried: &[String], rng: &mut impl Rng) -> Decision {
    let Placing { function, policy } = placing;
    let ask = Ask { tag: placing.tag(), capacity: placing.capacity(), code: code_of(function) };
    let choice = policy::choose(&policy.script, &ask, cluster.workers(), tried, rng);
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

/// The function's tag; empty for none.
pub fn tag_of(function: &Function) -> &str {
    function.metadata.as_ref().map_or("", |metadata| &metadata.tag)
}

/// The memory in KB to reserve for the function.
pub fn capacity_kb_of(function: &Function) -> u64 {
    let capacity_kb = function.metadata.as_ref().map(|metadata| metadata.capacity_kb);
    capacity_kb.filter(|kb| *kb > 0).unwrap_or(DEFAULT_CAPACITY_KB)
}

fn code_of(function: &Function) -> &Bytes {
    static NONE: Bytes = Bytes::new();
    function.code.as_ref().map_or(&NONE, |code| &code.hash)
}

/// No worker is left to try: the last attempt's failure says more than "none".
fn none_left(refusal: Refusal, last_failure: Option<Error>) -> Error {
    match last_failure {
        None => SchedulingError::Refused(refusal).into(),
        Some(failure) if failure.reason == Reason::Overloaded => failure,
        Some(failure) => {
            tracing::warn!(%failure, "no worker could be reached");
            SchedulingError::NoneReachable.into()
        }
    }
}
