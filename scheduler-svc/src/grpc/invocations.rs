//! `funless.scheduler.v1.Invocations`.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::{Caller, Error, Reason};
use proto::registry::v1::Function;
use proto::scheduler::v1::invocations_server::Invocations;
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::scheduling::Language;
use proto::scheduler::v1::{InvokeRequest, InvokeResponse};
use proto::worker::v1::{ExecuteRequest, execute_response};
use tonic::{Request, Response, Status};
use uuid::Uuid;

use crate::catalog::Catalog;
use crate::delivery::Delivery;
use crate::dispatch::{Dispatched, Dispatcher};
use crate::error::SchedulingError;

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
}

impl InvocationsHandler {
    /// Invocations of what is in `catalog`, each at most for `max_duration`.
    pub fn new(
        catalog: Arc<Catalog>,
        dispatcher: Dispatcher,
        delivery: Delivery,
        max_duration: Duration,
    ) -> Self {
        Self { catalog, dispatcher, delivery, max_duration }
    }

    async fn invoke(
        &self,
        caller: Caller,
        invoke: InvokeRequest,
        deadline: Deadline,
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
        let mut function = self.look_up(&caller, &invoke)?;
        let Dispatched { response, worker } =
            match self.dispatch(&function, &invoke, &invocation_id, deadline).await {
                // It was updated or deleted between look-up and run. Nothing has run: look again.
                Err(error) if error.reason == Reason::CodeNotFound => {
                    self.catalog.moved_on(&function, deadline.min(Deadline::after(CATCH_UP))).await;
                    function = self.look_up(&caller, &invoke)?;
                    self.dispatch(&function, &invoke, &invocation_id, deadline).await?
                }
                outcome => outcome?,
            };
        let outcome = match response.outcome {
            Some(execute_response::Outcome::Result(result)) => {
                self.delivery.deliver(&function, &invocation_id, &result, deadline).await?;
                Some(Outcome::Result(result))
            }
            Some(execute_response::Outcome::FunctionError(message)) => Some(Outcome::FunctionError(message)),
            None => None,
        };
        Ok(InvokeResponse { outcome, invocation_id, worker })
    }

    async fn dispatch(
        &self,
        function: &Function,
        invoke: &InvokeRequest,
        invocation_id: &str,
        deadline: Deadline,
    ) -> Result<Dispatched, Error> {
        let request = ExecuteRequest {
            invocation_id: invocation_id.to_owned(),
            module: function.module.clone(),
            function: function.name.clone(),
            code: function.code.clone(),
            limits: function.limits,
            args: if invoke.args.is_empty() { NO_ARGS } else { invoke.args.clone() },
        };
        self.dispatcher.dispatch(function, request, deadline).await
    }

    fn look_up(&self, caller: &Caller, invoke: &InvokeRequest) -> Result<Arc<Function>, SchedulingError> {
        let (function, not_found) = match invoke.function_id.as_str() {
            "" => {
                let (module, function) = (&invoke.module, &invoke.function);
                let not_found =
                    SchedulingError::FunctionNotFound { module: module.clone(), function: function.clone() };
                (self.catalog.function(module, function), not_found)
            }
            id => (self.catalog.function_by_id(id), SchedulingError::FunctionIdNotFound(id.to_owned())),
        };
        let function = function.filter(|function| caller.reaches(&function.owner)).ok_or(not_found)?;
        match invoke.scheduling.as_ref().and_then(|scheduling| scheduling.language.as_ref()) {
            None => Ok(function),
            Some(Language::AppScript(script)) if self.catalog.has_script(script) => {
                Err(SchedulingError::ScriptsNotAvailable)
            }
            Some(Language::AppScript(script)) => Err(SchedulingError::ScriptNotFound(script.clone())),
        }
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
