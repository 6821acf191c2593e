//! A fake scheduler with given answers.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::receipt::{self, Receipt};
use mesh::server::Grpc;
use mesh::{Caller, Error, MAX_MESSAGE_BYTES};
use parking_lot::Mutex;
use proto::scheduler::v1::cluster_server::{Cluster, ClusterServer};
use proto::scheduler::v1::invocations_server::{Invocations, InvocationsServer};
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::logs_server::LogsServer;
use proto::scheduler::v1::policies_server::PoliciesServer;
use proto::scheduler::v1::{
    AwaitCodeRequest, AwaitCodeResponse, CodeFailure, InvokeRequest, InvokeResponse, ListWorkersRequest,
    ListWorkersResponse, WorkerIdentity, WorkerState,
};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::logs::FakeLogs;
use super::policies::FakePolicies;

/// How an invocation ends.
#[derive(Debug, Clone)]
pub enum Answer {
    /// With the unchanged arguments.
    Echo,
    Result(&'static str),
    FunctionError(&'static str),
    Error(Error),
    /// Never.
    Hang,
    /// Without an outcome, which a real scheduler never does.
    Nothing,
}

#[derive(Clone, Default)]
pub struct FakeScheduler {
    pub state: Arc<Mutex<State>>,
    pub policies: FakePolicies,
    pub logs: FakeLogs,
}

#[derive(Default)]
pub struct State {
    pub answer: Option<Answer>,
    /// The id of the decision for each invocation.
    pub decision: Option<&'static str>,
    /// The receipt of each invocation.
    pub receipt: Receipt,
    pub request: Option<InvokeRequest>,
    pub caller: Option<Caller>,
    pub deadline: Option<Duration>,
    /// The number of invocations that hang.
    pub running: usize,
    /// The hashes of `AwaitCode` calls.
    pub awaited: Vec<Bytes>,
    /// The workers that fail to prepare the code.
    pub code_failures: Vec<CodeFailure>,
    /// Whether no worker prepares the code.
    pub none_ready: bool,
    /// The error of `AwaitCode`.
    pub await_failure: Option<Error>,
    /// The workers to list. `None`: one worker, `w1`.
    pub workers: Option<ListWorkersResponse>,
}

impl FakeScheduler {
    /// Its gRPC services.
    pub fn services(&self) -> Grpc {
        let invocations = InvocationsServer::new(self.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Grpc::default()
            .service(invocations)
            .service(LogsServer::new(self.logs.clone()))
            .service(ClusterServer::new(self.clone()))
            .service(PoliciesServer::new(self.policies.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
    }

    pub fn answers(&self, answer: Answer) {
        self.state.lock().answer = Some(answer);
    }

    pub fn last_request(&self) -> InvokeRequest {
        self.state.lock().request.clone().expect("an invocation")
    }

    pub fn runs(&self) -> usize {
        self.state.lock().running
    }
}

#[tonic::async_trait]
impl Invocations for FakeScheduler {
    async fn invoke(&self, request: Request<InvokeRequest>) -> Result<Response<InvokeResponse>, Status> {
        let (caller, deadline) = (Caller::of(&request), Deadline::of(&request).map(Deadline::remaining));
        let request = request.into_inner();
        let (answer, decision, receipt) = {
            let mut state = self.state.lock();
            state.request = Some(request.clone());
            (state.caller, state.deadline) = (Some(caller), deadline);
            (state.answer.clone().unwrap_or(Answer::Echo), state.decision, state.receipt.clone())
        };
        let outcome = match answer {
            Answer::Echo => Some(Outcome::Result(request.args)),
            Answer::Result(json) => Some(Outcome::Result(Bytes::from_static(json.as_bytes()))),
            Answer::FunctionError(message) => Some(Outcome::FunctionError(message.into())),
            Answer::Error(error) => return Err(failed(error, decision, &receipt)),
            Answer::Nothing => None,
            Answer::Hang => {
                let _running = Running::start(&self.state);
                std::future::pending().await
            }
        };
        let worker = "w1".into();
        let mut response = Response::new(InvokeResponse {
            outcome,
            invocation_id: request.invocation_id,
            worker,
            decision_id: decision.unwrap_or_default().into(),
        });
        receipt::attach(&mut response, &receipt);
        Ok(response)
    }
}

fn failed(error: Error, decision: Option<&'static str>, receipt: &Receipt) -> Status {
    let mut status = Status::from(error);
    receipt::attach_to_failure(&mut status, receipt);
    if let Some(id) = decision {
        status.metadata_mut().insert(mesh::DECISION_HEADER, MetadataValue::from_static(id));
    }
    status
}

/// An invocation that runs until it is dropped.
struct Running(Arc<Mutex<State>>);

impl Running {
    fn start(state: &Arc<Mutex<State>>) -> Self {
        state.lock().running += 1;
        Self(Arc::clone(state))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.0.lock().running -= 1;
    }
}

#[tonic::async_trait]
impl Cluster for FakeScheduler {
    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        if let Some(workers) = self.state.lock().workers.clone() {
            return Ok(Response::new(workers));
        }
        let identity = WorkerIdentity { name: "w1".into(), ..WorkerIdentity::default() };
        let workers = vec![WorkerState { identity: Some(identity), ..WorkerState::default() }];
        Ok(Response::new(ListWorkersResponse { workers, ..ListWorkersResponse::default() }))
    }

    async fn await_code(
        &self,
        request: Request<AwaitCodeRequest>,
    ) -> Result<Response<AwaitCodeResponse>, Status> {
        let mut state = self.state.lock();
        state.awaited.push(request.into_inner().hash);
        match state.await_failure.clone() {
            Some(error) => Err(error.into()),
            None => {
                let failed = state.code_failures.clone();
                let ready = if state.none_ready { Vec::new() } else { vec!["w1".into()] };
                Ok(Response::new(AwaitCodeResponse { ready, failed }))
            }
        }
    }
}
