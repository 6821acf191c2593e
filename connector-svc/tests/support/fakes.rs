//! The far sides of the connector as real gRPC servers: a registry that knows bindings, and a scheduler of
//! which the functions are scripted.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use bytes::Bytes;
use futures::Stream;
use futures::stream::BoxStream;
use mesh::{Caller, Error};
use parking_lot::Mutex;
use proto::registry::v1::bindings_server::{Bindings, BindingsServer};
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::watch_server::{Watch, WatchServer};
use proto::registry::v1::{
    Binding, BindingHolder, ChangeSet, FindHoldersRequest, FindHoldersResponse, FunctionBinding,
    HoldBindingsRequest, HoldBindingsResponse, ReleaseBindingsRequest, ReleaseBindingsResponse, Snapshot,
    WatchRequest, WatchResponse,
};
use proto::scheduler::v1::invocations_server::{Invocations, InvocationsServer};
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::{InvokeRequest, InvokeResponse};
use tokio::sync::{Semaphore, broadcast};
use tokio_stream::wrappers::BroadcastStream;
use tokio_stream::{StreamExt as _, once};
use tonic::{Request, Response, Status};

/// A registry that gives all its bindings to everyone, as when leases overlap.
#[derive(Clone)]
pub struct FakeRegistry {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<WatchResponse>,
}

#[derive(Default)]
struct State {
    revision: u64,
    bindings: Vec<FunctionBinding>,
    /// The addresses of holders, by binding.
    holders: HashMap<String, String>,
    released: usize,
    /// Of these holders nobody gets anything.
    closed_to: Vec<String>,
    is_away: bool,
}

impl FakeRegistry {
    pub fn new() -> Self {
        Self { state: Arc::default(), changes: broadcast::Sender::new(100) }
    }

    /// Binds the function `f` of the module `m` to a source, in the shared module's name.
    pub fn bind(&self, id: &str, kind: &str, params: &serde_json::Value) {
        self.bind_for("", id, kind, params);
    }

    pub fn bind_for(&self, owner: &str, id: &str, kind: &str, params: &serde_json::Value) {
        let binding = Binding { id: id.into(), r#type: kind.into(), params: params.to_string() };
        let binding = FunctionBinding {
            function_id: format!("function-of-{id}"),
            module: "m".into(),
            function: "f".into(),
            binding: Some(binding),
            owner: owner.into(),
        };
        self.change(|state| state.bindings.push(binding));
    }

    /// Gives a binding other parameters, as an update does.
    pub fn rebind(&self, id: &str, params: &serde_json::Value) {
        self.change(|state| {
            let bound = state.bindings.iter_mut().filter(|bound| id_of(bound) == id);
            bound
                .filter_map(|bound| bound.binding.as_mut())
                .for_each(|binding| binding.params = params.to_string());
        });
    }

    pub fn unbind(&self, id: &str) {
        self.change(|state| state.bindings.retain(|bound| id_of(bound) != id));
    }

    /// Lets nobody at this address hold anything.
    pub fn close_to(&self, address: &str) {
        self.change(|state| state.closed_to.push(address.into()));
    }

    /// Answers nobody any more who wants to hold something, so that leases run out.
    pub fn go_away(&self) {
        self.state.lock().is_away = true;
    }

    /// How often a replica has given up its leases.
    pub fn released(&self) -> usize {
        self.state.lock().released
    }

    pub fn router(&self) -> axum::Router {
        let mut routes = tonic::service::Routes::new(WatchServer::new(self.clone()));
        routes = routes.add_service(BindingsServer::new(self.clone()));
        routes.into_axum_router()
    }

    fn change(&self, change: impl FnOnce(&mut State)) {
        let mut state = self.state.lock();
        change(&mut state);
        state.revision += 1;
        let body = Some(Body::Changes(ChangeSet::default()));
        let _ = self.changes.send(WatchResponse { revision: state.revision, body });
    }
}

fn id_of(bound: &FunctionBinding) -> &str {
    bound.binding.as_ref().map_or("", |binding| &binding.id)
}

#[tonic::async_trait]
impl Watch for FakeRegistry {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let state = self.state.lock();
        let changes = BroadcastStream::new(self.changes.subscribe());
        let changes = changes.map(|change| change.map_err(|_| Status::data_loss("lagged")));
        let snapshot = Snapshot { complete: true, ..Snapshot::default() };
        let snapshot = WatchResponse { revision: state.revision, body: Some(Body::Snapshot(snapshot)) };
        Ok(Response::new(Box::pin(once(Ok(snapshot)).chain(changes))))
    }
}

#[tonic::async_trait]
impl Bindings for FakeRegistry {
    type HoldBindingsStream = BoxStream<'static, Result<HoldBindingsResponse, Status>>;

    async fn hold_bindings(
        &self,
        request: Request<HoldBindingsRequest>,
    ) -> Result<Response<Self::HoldBindingsStream>, Status> {
        let request = request.into_inner();
        let mut state = self.state.lock();
        if state.is_away {
            return Err(Error::unavailable("the registry is away").into());
        }
        let exists = |id: &String| state.bindings.iter().any(|bound| id_of(bound) == id);
        let (released, removed) = request.running.iter().cloned().partition(exists);
        let bindings = match state.closed_to.contains(&request.address) {
            true => Vec::new(),
            false => state.bindings.clone(),
        };
        let released = if bindings.is_empty() { released } else { Vec::new() };
        for bound in &bindings {
            state.holders.insert(id_of(bound).to_owned(), request.address.clone());
        }
        let revision = state.revision;
        let share = HoldBindingsResponse {
            bindings,
            removed,
            released,
            lease_ms: 2000,
            revision,
            known_revision: revision,
        };
        Ok(Response::new(Box::pin(once(Ok(share)))))
    }

    async fn release_bindings(
        &self,
        _: Request<ReleaseBindingsRequest>,
    ) -> Result<Response<ReleaseBindingsResponse>, Status> {
        self.state.lock().released += 1;
        Ok(Response::new(ReleaseBindingsResponse {}))
    }

    async fn find_holders(
        &self,
        request: Request<FindHoldersRequest>,
    ) -> Result<Response<FindHoldersResponse>, Status> {
        let state = self.state.lock();
        let holder = |binding_id: String| {
            let address = state.holders.get(&binding_id)?.clone();
            Some(BindingHolder { binding_id, address })
        };
        let ids = request.into_inner().ids;
        let exists = |id: &&String| state.bindings.iter().any(|bound| id_of(bound) == id.as_str());
        let existing = ids.iter().filter(exists).cloned().collect();
        let holders = ids.into_iter().filter_map(holder).collect();
        Ok(Response::new(FindHoldersResponse { holders, existing }))
    }
}

type Script = Box<dyn Fn(&InvokeRequest) -> Reply + Send + Sync>;

/// What becomes of an invocation.
pub enum Reply {
    /// The function answers.
    Answer,
    /// The function says that it failed.
    Error(&'static str),
    /// The call fails.
    Fail(Error),
    /// The function answers when [`FakeScheduler::let_go`] lets it.
    Wait,
}

/// A scheduler whose functions do what a script says.
#[derive(Clone)]
pub struct FakeScheduler {
    script: Arc<Mutex<Arc<Script>>>,
    calls: Arc<Mutex<Vec<Call>>>,
    running: Arc<AtomicUsize>,
    most_running: Arc<AtomicUsize>,
    gate: Arc<Semaphore>,
}

/// A call that came, whatever became of it.
#[derive(Debug, Clone)]
pub struct Call {
    pub id: String,
    pub args: Bytes,
    pub request: InvokeRequest,
    pub caller: Caller,
    pub traceparent: Option<String>,
    pub has_deadline: bool,
}

impl Call {
    pub fn text(&self) -> String {
        String::from_utf8(self.args.to_vec()).expect("JSON")
    }
}

impl FakeScheduler {
    pub fn new() -> Self {
        let script: Script = Box::new(|_| Reply::Answer);
        Self {
            script: Arc::new(Mutex::new(Arc::new(script))),
            calls: Arc::default(),
            running: Arc::default(),
            most_running: Arc::default(),
            gate: Arc::new(Semaphore::new(0)),
        }
    }

    pub fn behave(&self, script: impl Fn(&InvokeRequest) -> Reply + Send + Sync + 'static) {
        *self.script.lock() = Arc::new(Box::new(script));
    }

    /// Lets this many waiting functions answer.
    pub fn let_go(&self, functions: usize) {
        self.gate.add_permits(functions);
    }

    pub fn calls(&self) -> Vec<Call> {
        self.calls.lock().clone()
    }

    /// The arguments of all calls, ordered.
    pub fn arguments(&self) -> Vec<String> {
        let mut arguments: Vec<_> = self.calls().iter().map(Call::text).collect();
        arguments.sort();
        arguments
    }

    pub fn running(&self) -> usize {
        self.running.load(Ordering::SeqCst)
    }

    pub fn most_running(&self) -> usize {
        self.most_running.load(Ordering::SeqCst)
    }

    pub fn router(&self) -> axum::Router {
        tonic::service::Routes::new(InvocationsServer::new(self.clone())).into_axum_router()
    }
}

struct Running(Arc<AtomicUsize>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

#[tonic::async_trait]
impl Invocations for FakeScheduler {
    async fn invoke(&self, request: Request<InvokeRequest>) -> Result<Response<InvokeResponse>, Status> {
        let metadata = |name: &str| Some(request.metadata().get(name)?.to_str().ok()?.to_owned());
        let (traceparent, has_deadline) = (metadata("traceparent"), metadata("grpc-timeout").is_some());
        let caller = match metadata("x-funless-subject") {
            None => Caller::Service,
            Some(name) => Caller::Subject(name),
        };
        let request = request.into_inner();
        let reply = {
            let script = Arc::clone(&self.script.lock());
            script(&request)
        };
        let now = self.running.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_running.fetch_max(now, Ordering::SeqCst);
        let _running = Running(Arc::clone(&self.running));
        let invocation_id = request.invocation_id.clone();
        let (id, args) = (invocation_id.clone(), request.args.clone());
        self.calls.lock().push(Call { id, args, request, caller, traceparent, has_deadline });
        let outcome = match reply {
            Reply::Answer => Outcome::Result(Bytes::from_static(b"{}")),
            Reply::Error(message) => Outcome::FunctionError(message.into()),
            Reply::Fail(error) => return Err(error.into()),
            Reply::Wait => {
                self.gate.acquire().await.expect("never closed").forget();
                Outcome::Result(Bytes::from_static(b"{}"))
            }
        };
        Ok(Response::new(InvokeResponse {
            outcome: Some(outcome),
            invocation_id,
            worker: "w".into(),
            ..InvokeResponse::default()
        }))
    }
}
