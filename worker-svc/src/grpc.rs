//! The `Execution` service: decode, call, encode.

use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::hash::Hash;
use proto::worker::v1::execute_response;
use proto::worker::v1::execution_server::Execution;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::admission::Admission;
use crate::error::Error;
use crate::metrics::Metrics;
use crate::runtime::limits::Limits;
use crate::runtime::{Invocation, Outcome, Runtime};
use crate::work::Kind;

/// What a function gets whose caller gave no arguments.
const NO_ARGS: Bytes = Bytes::from_static(b"{}");

/// Runs code.
pub(crate) struct ExecutionService {
    pub(crate) admission: Admission,
    pub(crate) runtime: Arc<Runtime>,
    /// The worker's limits.
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
}

#[tonic::async_trait]
impl Execution for ExecutionService {
    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        let deadline = Deadline::of(&request);
        let outcome = self.run(request.into_inner(), deadline).await.map_err(mesh::Error::from)?;
        let outcome = match outcome {
            Outcome::Result(result) => execute_response::Outcome::Result(result),
            Outcome::FunctionError(message) => execute_response::Outcome::FunctionError(message),
        };
        Ok(Response::new(ExecuteResponse { outcome: Some(outcome) }))
    }
}

impl ExecutionService {
    async fn run(&self, mut request: ExecuteRequest, deadline: Option<Deadline>) -> Result<Outcome, Error> {
        let kind = Kind { scheduler_id: take(&mut request.scheduler_id), tag: take(&mut request.tag) };
        let place = self.admission.admit(kind, request.capacity_kb);
        let place = place.inspect_err(|error| self.metrics.refused(error))?;
        let mut observation = self.metrics.start();
        let span = tracing::info_span!(
            target: mesh::telemetry::SPANS,
            "execute",
            faas.name = format_args!("{}/{}", request.module, request.function),
            faas.invocation_id = request.invocation_id,
        );
        let end = self.execute_admitted(request, deadline).instrument(span).await;
        observation.ended(&end);
        drop(place);
        end
    }

    async fn execute_admitted(
        &self,
        request: ExecuteRequest,
        deadline: Option<Deadline>,
    ) -> Result<Outcome, Error> {
        let hash = request.code.as_ref().map(|code| Hash::try_from(code.hash.as_ref()));
        let Some(Ok(hash)) = hash else {
            return Err(Error::BadRequest("code.hash: expected the 32 bytes of a SHA3-256"));
        };
        let code = self.runtime.modules.get(hash).await?;
        let invocation = Invocation {
            id: request.invocation_id,
            function: format!("{}/{}", request.module, request.function),
            args: if request.args.is_empty() { NO_ARGS } else { request.args },
            limits: self.limits.of_function(&request.limits.unwrap_or_default()),
            deadline,
        };
        self.runtime.invoke(&code, invocation).await
    }
}
