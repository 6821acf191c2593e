//! Runs simulations: a few at once, each on a blocking thread until its caller goes away.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mesh::deadline::Deadline;
use mesh::{Error, MAX_MESSAGE_BYTES, Reason};
use proto::scheduler::v1::simulate_request::Policy;
use proto::scheduler::v1::{Placement, SimulateRequest, SimulateResponse};
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

use crate::catalog::Catalog;
use crate::policy::Refusal;
use crate::policy::app::{self, Script};
use crate::simulate::{Placements, Simulation};

/// Simulations at once. Each takes a whole core, which invocations need, too.
const MAX_CONCURRENT: usize = 2;
/// When a caller that is refused may try again.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The most that a placement takes in a message beside the name of the worker, in bytes.
const PLACEMENT_BYTES: usize = 32;

/// Runs simulations.
#[derive(Debug)]
pub struct Simulations {
    permits: Arc<Semaphore>,
}

impl Default for Simulations {
    fn default() -> Self {
        Self { permits: Arc::new(Semaphore::new(MAX_CONCURRENT)) }
    }
}

impl Simulations {
    /// Simulates a load with `script`.
    pub async fn simulate(
        &self,
        script: Arc<Script>,
        request: SimulateRequest,
        deadline: Deadline,
    ) -> Result<SimulateResponse, Error> {
        let permit = Arc::clone(&self.permits).try_acquire_owned();
        let permit = permit.map_err(|_| {
            Error::overloaded(format!("{MAX_CONCURRENT} simulations are running already"), RETRY_AFTER)
        })?;
        let stop = CancellationToken::new();
        // Dropped when the caller goes away, too.
        let _stop_when_done = stop.clone().drop_guard();
        let simulating = tokio::task::spawn_blocking(move || {
            let _held = permit;
            let SimulateRequest { workers, load, seed, .. } = request;
            let simulation = Simulation::new(&script, &workers, &load, seed)?;
            simulation.run(Instant::now(), || !stop.is_cancelled()).ok_or_else(too_late).and_then(encode)
        });
        match tokio::time::timeout_at(deadline.instant(), simulating).await {
            Ok(done) => done.map_err(Error::internal)?,
            Err(_) => Err(too_late()),
        }
    }
}

fn too_late() -> Error {
    Error::new(Reason::DeadlineExceeded, "the simulation takes too long; simulate a part of the load")
}

/// The script of a request.
pub fn script_of(catalog: &Catalog, policy: Option<&Policy>) -> Result<Arc<Script>, Error> {
    match policy {
        Some(Policy::Script(name)) => Ok(catalog.policy(name)?.script),
        Some(Policy::Content(text)) => {
            let problem = |problem: app::Problem| ("content".to_owned(), problem.message);
            let problems = |problems: Vec<_>| Error::fields(problems.into_iter().map(problem));
            app::parse(text).map(Arc::new).map_err(problems)
        }
        Some(Policy::DefaultPolicy(_)) => Ok(catalog.default_policy().script),
        None => Err(Error::field("policy", "can't be blank")),
    }
}

fn encode(Placements { names, placed }: Placements) -> Result<SimulateResponse, Error> {
    let name = |worker: u32| names.get(worker as usize).map(|name| &**name).unwrap_or_default();
    let bytes: usize = placed
        .iter()
        .map(|(_, outcome)| PLACEMENT_BYTES + outcome.map_or(0, |worker| name(worker).len()))
        .sum();
    if bytes > MAX_MESSAGE_BYTES {
        let message =
            format!("the answer may have at most {MAX_MESSAGE_BYTES} bytes; simulate a part of the load");
        return Err(Error::new(Reason::TooLarge, message));
    }
    let placement = |(invocation, outcome): (u32, Result<u32, Refusal>)| Placement {
        invocation,
        worker: outcome.map(|worker| name(worker).to_owned()).unwrap_or_default(),
        refusal: outcome.err().map(Refusal::as_str).unwrap_or_default().to_owned(),
    };
    Ok(SimulateResponse { placements: placed.into_iter().map(placement).collect() })
}
