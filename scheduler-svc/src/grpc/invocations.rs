//! `funless.scheduler.v1.Invocations`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::fair_limit::FairLimit;
use mesh::receipt::{self, Receipt, micros};
use mesh::{Caller, Error, Reason};
use proto::scheduler::v1::invocations_server::Invocations;
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::{InvokeRequest, InvokeResponse};
use proto::worker::v1::{ExecuteRequest, ExecuteResponse, execute_response};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::delivery::Delivery;
use crate::dispatch::Dispatcher;
use crate::error::SchedulingError;
use crate::invocation::{PendingInvocation, capacity_kb_of, tag_of};
use crate::metrics::{Metrics, Observation};
use crate::revisions::{Revisions, wait_deadline};

/// How long to wait for the catalog to learn of an update that workers know of. The watch is usually
/// milliseconds behind.
const WAIT_FOR_UPDATE: Duration = Duration::from_secs(5);

/// How long before the deadline to answer.
const TIME_TO_ANSWER: Duration = Duration::from_millis(5);

/// The longest invocation id that a caller may set.
const MAX_ID_BYTES: usize = 128;

/// The arguments of a function whose caller sends none.
const NO_ARGS: Bytes = Bytes::from_static(b"{}");

/// Runs functions.
#[derive(Debug)]
pub struct InvocationsHandler {
    pub(crate) catalog: Arc<Catalog>,
    pub(crate) revisions: Arc<Revisions>,
    pub(crate) dispatcher: Dispatcher,
    pub(crate) delivery: Delivery,
    /// How many invocations may run at once.
    pub(crate) permits: FairLimit,
    /// The longest time that an invocation may take.
    pub(crate) max_duration: Duration,
    /// Counts the running invocations.
    pub(crate) running: TaskTracker,
    pub(crate) metrics: Metrics,
}

impl InvocationsHandler {
    async fn invoke(
        &self,
        caller: Caller,
        invoke: InvokeRequest,
        wait: Deadline,
        deadline: Deadline,
        receipt: &mut Receipt,
        observed: &mut Observation,
    ) -> Result<InvokeResponse, Error> {
        let began = Instant::now();
        self.revisions.wait_for(invoke.min_revision, wait.min(deadline)).await?;
        self.revisions.wait_for_if_possible(invoke.latest_revision, wait.min(deadline)).await?;
        receipt.schedule_us = micros(began.elapsed());
        let invocation_id = match &invoke.invocation_id {
            id if id.is_empty() => Uuid::now_v7().to_string(),
            // It becomes a key in databases and sinks.
            id if id.len() > MAX_ID_BYTES || !id.bytes().all(|byte| byte.is_ascii_graphic()) => {
                let expected = format!("should be at most {MAX_ID_BYTES} printable ASCII characters");
                return Err(Error::field("invocation_id", expected));
            }
            id => id.clone(),
        };
        let mut invocation = self.look_up(&caller, &invoke)?;
        observed.set_function(&invocation.function);
        // The limit of the port is the same, so these permits are never all in use.
        let module = &invocation.function.module;
        let permit = self.permits.try_acquire(module);
        let _held = permit.map_err(|_| SchedulingError::ModuleShare(module.clone()))?;
        let dispatched = self.dispatch(&invocation, &invoke, &invocation_id, deadline, receipt).await;
        let response = match dispatched {
            // The function was updated or deleted after it was looked up. Nothing has run: look it up again.
            Err(error) if error.reason == Reason::CodeNotFound => {
                self.catalog
                    .wait_for_change(&invocation.function, deadline.min(Deadline::after(WAIT_FOR_UPDATE)))
                    .await;
                invocation = self.look_up(&caller, &invoke)?;
                self.dispatch(&invocation, &invoke, &invocation_id, deadline, receipt).await?
            }
            outcome => outcome?,
        };
        let outcome = match response.outcome {
            Some(execute_response::Outcome::Result(result)) => {
                let ran = Instant::now();
                let delivered =
                    self.delivery.deliver(&invocation.function, &invocation_id, &result, deadline).await;
                receipt.keep_us = micros(ran.elapsed());
                delivered?;
                Some(Outcome::Result(result))
            }
            Some(execute_response::Outcome::FunctionError(message)) => Some(Outcome::FunctionError(message)),
            None => None,
        };
        let (worker, decision_id) = (receipt.worker.clone(), receipt.decision_id.clone());
        Ok(InvokeResponse { outcome, invocation_id, worker, decision_id })
    }

    async fn dispatch(
        &self,
        invocation: &PendingInvocation,
        invoke: &InvokeRequest,
        invocation_id: &str,
        deadline: Deadline,
        receipt: &mut Receipt,
    ) -> Result<ExecuteResponse, Error> {
        let function = &invocation.function;
        let request = ExecuteRequest {
            invocation_id: invocation_id.to_owned(),
            module: function.module.clone(),
            function: function.name.clone(),
            code: function.code.clone(),
            limits: function.limits,
            args: if invoke.args.is_empty() { NO_ARGS } else { invoke.args.clone() },
            scheduler_id: self.dispatcher.scheduler_id().to_owned(),
            tag: tag_of(function).to_owned(),
            capacity_kb: capacity_kb_of(function),
            function_id: function.id.clone(),
        };
        self.dispatcher.dispatch(invocation, request, deadline, receipt).await
    }

    fn look_up(&self, caller: &Caller, invoke: &InvokeRequest) -> Result<PendingInvocation, SchedulingError> {
        let InvokeRequest { function_id, module, function, scheduling, .. } = invoke;
        let function = self.catalog.find(caller, function_id, module, function)?;
        self.catalog.invocation_of(function, scheduling.as_ref())
    }
}

#[tonic::async_trait]
impl Invocations for InvocationsHandler {
    async fn invoke(&self, request: Request<InvokeRequest>) -> Result<Response<InvokeResponse>, Status> {
        let _running = self.running.token();
        let (wait, deadline) = (wait_deadline(&request), Deadline::of_at_most(&request, self.max_duration));
        let caller = Caller::of(&request);
        let (arrived, mut receipt) = (Instant::now(), Receipt::default());
        let mut observed = self.metrics.invocation();
        let invoking = self.invoke(caller, request.into_inner(), wait, deadline, &mut receipt, &mut observed);
        // Somewhat before the deadline, so that the caller gets the receipt.
        let invoked = tokio::time::timeout_at(deadline.earlier(TIME_TO_ANSWER).instant(), invoking).await;
        let invoked = invoked.unwrap_or_else(|_| {
            Err(Error::new(Reason::DeadlineExceeded, "the deadline passed before there was a result"))
        });
        observed.set_outcome(&invoked);
        receipt.total_us = micros(arrived.elapsed());
        match invoked {
            Ok(response) => {
                let mut response = Response::new(response);
                receipt::attach(&mut response, &receipt);
                Ok(response)
            }
            Err(error) => Err(failure(error, &receipt)),
        }
    }
}

/// The status of a failure, with the decision and the receipt if a decision was made.
fn failure(error: Error, receipt: &Receipt) -> Status {
    let mut status = Status::from(error);
    if !receipt.decision_id.is_empty()
        && let Ok(id) = receipt.decision_id.parse()
    {
        status.metadata_mut().insert(mesh::DECISION_HEADER, id);
        receipt::attach_to_failure(&mut status, receipt);
    }
    status
}
