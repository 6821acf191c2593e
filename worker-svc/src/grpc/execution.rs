//! `funless.worker.v1.Execution`.

use std::mem::take;
use std::sync::Arc;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::hash::Hash;
use mesh::inner_span;
use mesh::receipt::{self, Receipt, micros};
use mesh::server::UntilSent;
use mesh::telemetry::current_trace_id;
use proto::worker::v1::execute_response;
use proto::worker::v1::execution_server::Execution;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tonic::{Request, Response, Status};
use tracing::field::Empty;
use tracing::{Instrument as _, Span};

use crate::admission::{Admission, Admitted};
use crate::budget::Reservation;
use crate::error::Error;
use crate::logs::LogSource;
use crate::metrics::Metrics;
use crate::outcome::{self, Outcome};
use crate::running::InvocationKey;
use crate::runtime::limits::Limits;
use crate::runtime::{self, Demand, Invocation, ReadyCode, Runtime};

/// The arguments of a function whose caller gave none.
const NO_ARGS: Bytes = Bytes::from_static(b"{}");

/// Handles `Execute`.
pub(crate) struct ExecutionHandler {
    pub(crate) admission: Admission,
    pub(crate) runtime: Arc<Runtime>,
    /// The worker's limits.
    pub(crate) limits: Limits,
    pub(crate) metrics: Metrics,
}

#[tonic::async_trait]
impl Execution for ExecutionHandler {
    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        let deadline = Deadline::of(&request);
        let mut receipt = Receipt::default();
        match self.run(request.into_inner(), deadline, &mut receipt).await {
            Ok((outcome, reservation)) => {
                let outcome = match outcome {
                    Outcome::Result(result) => execute_response::Outcome::Result(result),
                    Outcome::FunctionError(message) => execute_response::Outcome::FunctionError(message),
                };
                let mut response = Response::new(ExecuteResponse { outcome: Some(outcome) });
                receipt::attach(&mut response, &receipt);
                if let Some(reservation) = reservation {
                    response.extensions_mut().insert(UntilSent::new(reservation));
                }
                Ok(response)
            }
            Err(error) => {
                let mut status = Status::from(mesh::Error::from(error));
                receipt::attach_to_failure(&mut status, &receipt);
                Err(status)
            }
        }
    }
}

impl ExecutionHandler {
    async fn run(
        &self,
        mut request: ExecuteRequest,
        deadline: Option<Deadline>,
        receipt: &mut Receipt,
    ) -> Result<(Outcome, Option<Reservation>), Error> {
        let key =
            InvocationKey { scheduler_id: take(&mut request.scheduler_id), tag: take(&mut request.tag) };
        let admitted = self.admission.admit(key, &request.module, &request.function_id, request.capacity_kb);
        let admitted = admitted.inspect_err(|error| self.metrics.refused(error))?;
        let mut recorder = self.metrics.start();
        let span = execute_span(&request);
        let executing = self.execute_admitted(&admitted, request, deadline, receipt);
        let (end, reservation) = match executing.instrument(span.clone()).await {
            Ok(response) => (Ok(response.outcome), response.reservation),
            Err(error) => (Err(error), None),
        };
        recorder.ended(&end, receipt);
        record_end(&span, &end, receipt);
        drop(admitted);
        end.map(|outcome| (outcome, reservation))
    }

    async fn execute_admitted(
        &self,
        admitted: &Admitted,
        request: ExecuteRequest,
        deadline: Option<Deadline>,
        receipt: &mut Receipt,
    ) -> Result<runtime::Response, Error> {
        let args = self.runtime.hold(if request.args.is_empty() { NO_ARGS } else { request.args })?;
        let hash = request.code.as_ref().map(|code| Hash::try_from(code.hash.as_ref()));
        let Some(Ok(hash)) = hash else {
            return Err(Error::BadRequest("code.hash: expected the 32 bytes of a SHA3-256"));
        };
        // For code that is not being prepared yet. Otherwise the function's creator is the subject.
        let demand = Demand::awaited(&request.module);
        let ReadyCode { code, phases } = self.runtime.code.get(hash, &demand).await?;
        receipt.queue_us = micros(phases.queue);
        receipt.fetch_us = micros(phases.fetch);
        receipt.compile_us = micros(phases.compile);
        receipt.load_us = micros(phases.load);
        Span::current().record("faas.coldstart", phases.is_cold());
        let invocation = Invocation {
            module: Arc::clone(admitted.module()),
            source: LogSource {
                function: format!("{}/{}", request.module, request.function),
                function_id: request.function_id,
                invocation_id: request.invocation_id,
                trace_id: current_trace_id().unwrap_or_default(),
            },
            args,
            limits: self.limits.of_function(&request.limits.unwrap_or_default()),
            deadline,
        };
        self.runtime.invoke(&code, invocation, receipt).await
    }
}

/// The span of one execution, within that of the call.
fn execute_span(request: &ExecuteRequest) -> Span {
    inner_span!(
        "execute",
        otel.status_code = Empty,
        error.type = Empty,
        faas.name = format_args!("{}/{}", request.module, request.function),
        faas.invocation_id = request.invocation_id,
        faas.coldstart = Empty,
        funless.outcome = Empty,
        funless.queue_us = Empty,
        funless.cpu_us = Empty,
        funless.peak_memory_bytes = Empty,
        funless.in_bytes = Empty,
        funless.out_bytes = Empty,
        funless.http_requests = Empty,
    )
}

/// Records how an execution ended. A function's own error is an outcome: the span has not failed.
fn record_end(span: &Span, end: &Result<Outcome, Error>, receipt: &Receipt) {
    if span.is_disabled() {
        return;
    }
    let outcome = outcome::label(end);
    span.record("funless.outcome", outcome);
    if end.is_err() {
        span.record("otel.status_code", "ERROR");
        span.record("error.type", outcome);
    }
    span.record("funless.queue_us", receipt.queue_us);
    span.record("funless.cpu_us", receipt.cpu_us);
    span.record("funless.peak_memory_bytes", receipt.peak_memory_bytes);
    span.record("funless.in_bytes", receipt.in_bytes);
    span.record("funless.out_bytes", receipt.out_bytes);
    span.record("funless.http_requests", receipt.http_requests);
}
