//! A fake registry with gRPC services, which tests fill with bindings.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::stream::BoxStream;
use futures::{StreamExt as _, stream};
use mesh::health::Readiness;
use mesh::server::Grpc;
use mesh::shutdown::Tasks;
use parking_lot::Mutex;
use proto::registry::v1::bindings_server::{Bindings, BindingsServer};
use proto::registry::v1::change::Change as Changed;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::watch_server::{Watch, WatchServer};
use proto::registry::v1::{
    Binding, BindingHolder, Change, ChangeSet, FindHoldersRequest, FindHoldersResponse, Function,
    FunctionBinding, FunctionDeleted, HoldBindingsRequest, HoldBindingsResponse, ReleaseBindingsRequest,
    ReleaseBindingsResponse, Snapshot, WatchRequest, WatchResponse,
};
use tokio::sync::broadcast;
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;
use tonic::{Request, Response, Status};

pub const LEASE: Duration = Duration::from_millis(600);

/// The registry. Clones share it.
#[derive(Clone)]
pub struct FakeRegistry {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<Change>,
}

#[derive(Default)]
struct State {
    /// By id. Each has a function of its own.
    bindings: HashMap<String, FunctionBinding>,
    /// Holder, address and expiry, by binding.
    leases: HashMap<String, (String, String, Instant)>,
    /// Whether it refuses to renew leases.
    is_away: bool,
}

impl Default for FakeRegistry {
    fn default() -> Self {
        Self { state: Arc::default(), changes: broadcast::Sender::new(64) }
    }
}

impl FakeRegistry {
    /// Creates or changes a sink.
    pub fn put(&self, id: &str, kind: &str, params: &str) {
        let binding = FunctionBinding {
            function_id: format!("function-of-{id}"),
            module: "shop".into(),
            function: "order".into(),
            binding: Some(Binding { id: id.into(), r#type: kind.into(), params: params.into() }),
            owner: "ann".into(),
        };
        self.state.lock().bindings.insert(id.to_owned(), binding.clone());
        let _ = self.changes.send(Change { change: Some(Changed::FunctionPut(function_of(&binding))) });
    }

    /// Removes a sink with its function.
    pub fn remove(&self, id: &str) {
        let removed = self.state.lock().bindings.remove(id).expect("the sink exists");
        let deleted = FunctionDeleted { id: removed.function_id, ..FunctionDeleted::default() };
        let _ = self.changes.send(Change { change: Some(Changed::FunctionDeleted(deleted)) });
    }

    /// Sets whether it refuses to renew leases.
    pub fn set_away(&self, is_away: bool) {
        self.state.lock().is_away = is_away;
    }

    /// The address of the replica that holds a sink.
    pub fn holder(&self, id: &str) -> Option<String> {
        self.state.lock().leases.get(id).map(|(_, address, _)| address.clone())
    }

    pub fn router(&self) -> axum::Router {
        Grpc::default()
            .service(BindingsServer::new(self.clone()))
            .service(WatchServer::new(self.clone()))
            .build(
                &mesh::config::ServerConfig::default(),
                &prometheus::Registry::new(),
                &Readiness::default(),
                &Tasks::default(),
            )
    }
}

fn function_of(binding: &FunctionBinding) -> Function {
    Function {
        id: binding.function_id.clone(),
        sinks: binding.binding.clone().into_iter().collect(),
        ..Function::default()
    }
}

#[tonic::async_trait]
impl Bindings for FakeRegistry {
    type HoldBindingsStream = BoxStream<'static, Result<HoldBindingsResponse, Status>>;

    async fn hold_bindings(
        &self,
        request: Request<HoldBindingsRequest>,
    ) -> Result<Response<Self::HoldBindingsStream>, Status> {
        let HoldBindingsRequest { holder, address, running, stopping, .. } = request.into_inner();
        let mut state = self.state.lock();
        let State { bindings, leases, is_away } = &mut *state;
        if *is_away {
            return Err(Status::unavailable("it is away"));
        }
        let now = Instant::now();
        leases.retain(|id, (_, _, until)| *until > now && bindings.contains_key(id));
        let (mut released, removed): (Vec<_>, _) =
            running.iter().cloned().partition(|id| bindings.contains_key(id));
        let mut share = Vec::new();
        for (id, binding) in bindings {
            let is_ours = leases.get(id).is_none_or(|(other, ..)| *other == holder);
            if is_ours && (!stopping || running.contains(id)) {
                leases.insert(id.clone(), (holder.clone(), address.clone(), now + LEASE));
                share.push(binding.clone());
                released.retain(|released| released != id);
            }
        }
        let lease_ms = LEASE.as_millis() as u32;
        let share = HoldBindingsResponse {
            bindings: share,
            removed,
            released,
            lease_ms,
            revision: 1,
            known_revision: 0,
        };
        Ok(Response::new(Box::pin(stream::once(async { Ok(share) }))))
    }

    async fn release_bindings(
        &self,
        request: Request<ReleaseBindingsRequest>,
    ) -> Result<Response<ReleaseBindingsResponse>, Status> {
        let gone = request.into_inner().holder;
        self.state.lock().leases.retain(|_, (holder, ..)| *holder != gone);
        Ok(Response::new(ReleaseBindingsResponse {}))
    }

    async fn find_holders(
        &self,
        request: Request<FindHoldersRequest>,
    ) -> Result<Response<FindHoldersResponse>, Status> {
        let state = self.state.lock();
        let ids = request.into_inner().ids;
        let held = ids.iter().filter_map(|id| {
            let (_, address, _) = state.leases.get(id)?;
            Some(BindingHolder { binding_id: id.clone(), address: address.clone() })
        });
        let holders = held.collect();
        let existing = ids.into_iter().filter(|id| state.bindings.contains_key(id)).collect();
        Ok(Response::new(FindHoldersResponse { holders, existing }))
    }
}

#[tonic::async_trait]
impl Watch for FakeRegistry {
    type WatchStream = BoxStream<'static, Result<WatchResponse, Status>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let changes = BroadcastStream::new(self.changes.subscribe());
        let functions = self.state.lock().bindings.values().map(function_of).collect();
        let snapshot = Snapshot { functions, complete: true, ..Snapshot::default() };
        let snapshot = Ok(WatchResponse { revision: 1, body: Some(Body::Snapshot(snapshot)) });
        let changes = changes.map(|change| {
            let change = change.map_err(|error| Status::unavailable(error.to_string()))?;
            let set = ChangeSet { changes: vec![change] };
            Ok(WatchResponse { revision: 1, body: Some(Body::Changes(set)) })
        });
        Ok(Response::new(stream::iter([snapshot]).chain(changes).boxed()))
    }
}
