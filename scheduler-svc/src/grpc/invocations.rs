//! `funless.scheduler.v1.Invocations`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::{Caller, Error, Reason};
use proto::scheduler::v1::invocations_server::Invocations;
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::{InvokeRequest, InvokeResponse};
use proto::worker::v1::{ExecuteRequest, execute_response};
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::delivery::Delivery;
use crate::dispatch::{Dispatched, Dispatcher, Placing, capacity_kb_of, tag_of};
use crate::error::SchedulingError;
use crate::metrics::{Metrics, Observation};

/// How long an invocation waits for a catalog that is behind. The watch is usually milliseconds
/// behind; when it is longer, the registry cannot be followed.
const CATCH_UP: Duration = Duration::from_secs(5);

/// The longest id of an invocation that a caller may give.
const MAX_ID_BYTES: usize = 128;

/// What a function gets whose caller gave no arguments.
const NO_ARGS: Bytes = Bytes::from_static(b"{}");

/// Runs functions.
#[derive(Debug)]
pub struct InvocationsHandler {
    catalog: Arc<Catalog>,
    dispatcher: Dispatcher,
    delivery: Delivery,
    max_duration: Duration,
    running: TaskTracker,
    metrics: Metrics,
}

impl InvocationsHandler {
    /// Invocations of what is in `catalog`, each at most for `max_duration` and counted in `running`.
    pub fn new(
        catalog: Arc<Catalog>,
        dispatcher: Dispatcher,
        delivery: Delivery,
        max_duration: Duration,
        running: TaskTracker,
        metrics: Metrics,
    ) -> Self {
        Self { catalog, dispatcher, delivery, max_duration, running, metrics }
    }

    async fn invoke(
        &self,
        caller: Caller,
        invoke: InvokeRequest,
        deadline: Deadline,
        decision_id: &mut String,
        observed: &mut Observation,
    ) -> Result<InvokeResponse, Error> {
        self.catalog.catch_up(invoke.min_revision, deadline.min(Deadline::after(CATCH_UP))).await?;
        let invocation_id = match &invoke.invocation_id {
            id if id.is_empty() => Uuid::now_v7().to_string(),
            // It becomes a key in databases and in stores that are not ours.
            id if id.len() > MAX_ID_BYTES || !id.bytes().all(|byte| byte.is_ascii_graphic()) => {
                let expected = format!("should be at most {MAX_ID_BYTES} printable ASCII characters");
                return Err(Error::field("invocation_id", expected));
            }
            id => id.clone(),
        };
        let mut placing = self.look_up(&caller, &invoke)?;
        observed.of(&placing.function);
        let dispatched = self.dispatch(&placing, &invoke, &invocation_id, deadline, decision_id).await;
        let Dispatched { response, worker } = match dispatched {
            // It was updated or deleted between look-up and run. Nothing has run: look again.
            Err(error) if error.reason == Reason::CodeNotFound => {
                self.catalog.moved_on(&placing.function, deadline.min(Deadline::after(CATCH_UP))).await;
                placing = self.look_up(&caller, &invoke)?;
                self.dispatch(&placing, &invoke, &invocation_id, deadline, decision_id).await?
            }
            outcome => outcome?,
        };
        let outcome = match response.outcome {
            Some(execute_response::Outcome::Result(result)) => {
                self.delivery.deliver(&placing.function, &invocation_id, &result, deadline).await?;
                Some(Outcome::Result(result))
            }
            Some(execute_response::Outcome::FunctionError(message)) => Some(Outcome::FunctionError(message)),
            None => None,
        };
        Ok(InvokeResponse { outcome, invocation_id, worker, decision_id: decision_id.clone() })
    }

    async fn dispatch(
        &self,
        placing: &Placing,
        invoke: &InvokeRequest,
        invocation_id: &str,
        deadline: Deadline,
        decision_id: &mut String,
    ) -> Result<Dispatched, Error> {
        let function = &placing.function;
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
        };
        self.dispatcher.dispatch(placing, request, deadline, decision_id).await
    }

    fn look_up(&self, caller: &Caller, invoke: &InvokeRequest) -> Result<Placing, SchedulingError> {
        let function = match invoke.function_id.as_str() {
            "" => self.catalog.reached_function(caller, &invoke.module, &invoke.function)?,
            id => {
                let function = self.catalog.function_by_id(id);
                let function = function.filter(|function| caller.reaches(&function.owner));
                function.ok_or_else(|| SchedulingError::FunctionIdNotFound(id.to_owned()))?
            }
        };
        self.catalog.placing(function, invoke.scheduling.as_ref())
    }
}

#[tonic::async_trait]
impl Invocations for InvocationsHandler {
    async fn invoke(&self, request: Request<InvokeRequest>) -> Result<Response<InvokeResponse>, Status> {
        let _running = self.running.token();
        let deadline = Deadline::of_at_most(&request, self.max_duration);
        let caller = Caller::of(&request);
        let mut decision_id = String::new();
        let mut observed = self.metrics.invocation();
        let invoked =
            self.invoke(caller, request.into_inner(), deadline, &mut decision_id, &mut observed).await;
        observed.ended(&invoked);
        invoked.map(Response::new).map_err(|error| with_decision(error.into(), &decision_id))
    }
}

/// The failure of an invocation for which a decision was made, with its id.
fn with_decision(mut status: Status, decision_id: &str) -> Status {
    if !decision_id.is_empty()
        && let Ok(id) = decision_id.parse()
    {
        status.metadata_mut().insert(mesh::DECISION_HEADER, id);
    }
    status
}
