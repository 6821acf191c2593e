//! Choose a worker, call it, classify what went wrong, try the next.

use std::sync::Arc;

use mesh::deadline::Deadline;
use mesh::{Error, Reason};
use proto::registry::v1::Function;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};

use crate::cluster::Reservation;
use crate::error::SchedulingError;
use crate::membership::{Contact, Members};
use crate::metrics::Metrics;
use crate::policy;

/// What the scheduler reserves for a function that names no capacity, in KB.
const DEFAULT_CAPACITY_KB: u64 = 64;

/// Sends invocations to workers.
#[derive(Debug, Clone)]
pub struct Dispatcher {
    members: Arc<Members>,
    metrics: Metrics,
}

/// The outcome of a run, and the worker that ran it.
#[derive(Debug)]
pub struct Dispatched {
    /// What the function said.
    pub response: ExecuteResponse,
    /// The worker's name.
    pub worker: String,
}

/// A chosen worker with a place reserved on it. Dropping it gives the place back, also when the
/// caller goes away.
struct Place {
    members: Arc<Members>,
    worker: String,
    contact: Contact,
    reservation: Reservation,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.members.cluster().release(&self.reservation);
    }
}

impl Dispatcher {
    /// Dispatches to `members`.
    pub fn new(members: Arc<Members>, metrics: Metrics) -> Self {
        Self { members, metrics }
    }

    /// Runs `function` on the worker that the policy chooses. A worker that could not be reached
    /// before the run started is skipped and the next one tried; a run that may have started is
    /// repeated only when the function is idempotent.
    pub async fn dispatch(
        &self,
        function: &Function,
        request: ExecuteRequest,
        deadline: Deadline,
    ) -> Result<Dispatched, Error> {
        let mut tried = Vec::new();
        let mut last_failure = None;
        loop {
            let mut place = match self.choose(function, &tried) {
                Ok(place) => place,
                Err(none) => return Err(none_left(none, last_failure)),
            };
            let call = deadline.attach(request.clone());
            let failure = match place.contact.execute(call).await {
                Ok(response) => {
                    return Ok(Dispatched { response: response.into_inner(), worker: place.worker.clone() });
                }
                Err(status) => Error::from(status),
            };
            let lost = failure.reason == Reason::ConnectionLost;
            if lost && !metadata_of(function).1 {
                return Err(SchedulingError::WorkerLost { worker: place.worker.clone() }.into());
            }
            if !lost && !failure.not_started() {
                return Err(failure);
            }
            tracing::debug!(worker = place.worker, %failure, "trying another worker");
            self.metrics.retries.with_label_values(&[failure.reason.as_str_name()]).inc();
            tried.push(place.worker.clone());
            last_failure = Some(failure);
        }
    }

    fn choose(&self, function: &Function, tried: &[String]) -> Result<Place, SchedulingError> {
        let (capacity_kb, _) = metadata_of(function);
        let code = function.code.as_ref().map(|code| code.hash.clone()).unwrap_or_default();
        let mut cluster = self.members.cluster();
        let candidates = cluster.candidates(&code).filter(|c| !tried.iter().any(|name| name == c.name));
        let chosen =
            policy::most_available(candidates, capacity_kb).map(|candidate| candidate.name.to_owned());
        let place = chosen.and_then(|worker| {
            let reservation = cluster.reserve(&worker, capacity_kb)?;
            let contact = cluster.worker(&worker)?.contact.clone();
            Some(Place { members: Arc::clone(&self.members), worker, contact, reservation })
        });
        let outcome = place.ok_or_else(|| match cluster.candidates(&code).next() {
            None => SchedulingError::NoWorkers,
            Some(_) => SchedulingError::NotEnoughMemory { capacity_kb },
        });
        drop(cluster);
        let label = match &outcome {
            Ok(_) => "chosen",
            Err(SchedulingError::NoWorkers) => "no_workers",
            Err(_) => "no_valid_workers",
        };
        self.metrics.decisions.with_label_values(&[label]).inc();
        outcome
    }
}

/// The capacity in KB, and whether a run may be repeated.
fn metadata_of(function: &Function) -> (u64, bool) {
    let metadata = function.metadata.as_ref();
    let capacity_kb = metadata.map(|metadata| metadata.capacity_kb).filter(|kb| *kb > 0);
    (capacity_kb.unwrap_or(DEFAULT_CAPACITY_KB), metadata.is_some_and(|metadata| metadata.idempotent))
}

/// No worker is left to try: the last attempt's failure says more than "none".
fn none_left(none: SchedulingError, last_failure: Option<Error>) -> Error {
    match last_failure {
        None => none.into(),
        Some(failure) if failure.reason == Reason::Overloaded => failure,
        Some(failure) => {
            tracing::warn!(%failure, "no worker could be reached");
            SchedulingError::NoneReachable.into()
        }
    }
}
