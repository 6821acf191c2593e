//! `funless.scheduler.v1.Invocations`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::{Caller, Error};
use proto::registry::v1::Function;
use proto::scheduler::v1::invocations_server::Invocations;
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::scheduling::Language;
use proto::scheduler::v1::{InvokeRequest, InvokeResponse};
use proto::worker::v1::{ExecuteRequest, execute_response};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::dispatch::{Dispatched, Dispatcher};
use crate::error::SchedulingError;

/// How long an invocation waits for a catalog that is behind. The watch is usually milliseconds
/// behind; when it is longer, the registry cannot be followed.
const CATCH_UP: Duration = Duration::from_secs(5);

/// Runs functions.
#[derive(Debug)]
pub struct InvocationsHandler {
    catalog: Arc<Catalog>,
    dispatcher: Dispatcher,
    max_duration: Duration,
}

impl InvocationsHandler {
    /// Invocations of what is in `catalog`, each at most for `max_duration`.
    pub fn new(catalog: Arc<Catalog>, dispatcher: Dispatcher, max_duration: Duration) -> Self {
        Self { catalog, dispatcher, max_duration }
    }

    async fn invoke(
        &self,
        caller: Caller,
        invoke: InvokeRequest,
        deadline: Deadline,
    ) -> Result<InvokeResponse, Error> {
        self.catalog.catch_up(invoke.min_revision, deadline.min(Deadline::after(CATCH_UP))).await?;
        let function = self.look_up(&caller, &invoke)?;
        if let Some(Language::AppScript(script)) =
            invoke.scheduling.and_then(|scheduling| scheduling.language)
        {
            return Err(match self.catalog.has_script(&script) {
                true => SchedulingError::ScriptsNotAvailable.into(),
                false => SchedulingError::ScriptNotFound(script).into(),
            });
        }
        let invocation_id = match invoke.invocation_id {
            id if id.is_empty() => Uuid::now_v7().to_string(),
            id => id,
        };
        let request = ExecuteRequest {
            invocation_id: invocation_id.clone(),
            module: invoke.module,
            function: invoke.function,
            code: function.code.clone(),
            limits: function.limits,
            args: if invoke.args.is_empty() { Bytes::from_static(b"{}") } else { invoke.args },
        };
        let Dispatched { response, worker } = self.dispatcher.dispatch(&function, request, deadline).await?;
        let outcome = response.outcome.map(|outcome| match outcome {
            execute_response::Outcome::Result(result) => Outcome::Result(result),
            execute_response::Outcome::FunctionError(message) => Outcome::FunctionError(message),
        });
        Ok(InvokeResponse { outcome, invocation_id, worker })
    }

    fn look_up(&self, caller: &Caller, invoke: &InvokeRequest) -> Result<Arc<Function>, SchedulingError> {
        self.catalog
            .function(&invoke.module, &invoke.function)
            .filter(|function| caller.reaches(&function.owner))
            .ok_or_else(|| SchedulingError::FunctionNotFound {
                module: invoke.module.clone(),
                function: invoke.function.clone(),
            })
    }
}

#[tonic::async_trait]
impl Invocations for InvocationsHandler {
    async fn invoke(&self, request: Request<InvokeRequest>) -> Result<Response<InvokeResponse>, Status> {
        let deadline = Deadline::of_at_most(&request, self.max_duration);
        let caller = Caller::of(&request);
        let response = self.invoke(caller, request.into_inner(), deadline).await?;
        Ok(Response::new(response))
    }
}
