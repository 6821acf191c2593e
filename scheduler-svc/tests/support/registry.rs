//! A fake registry.

use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use mesh::Error;
use parking_lot::Mutex;
use proto::registry::v1::change::Change as Kind;
use proto::registry::v1::revisions_server::{Revisions, RevisionsServer};
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::watch_server::{Watch, WatchServer};
use proto::registry::v1::{
    Change, ChangeSet, Function, FunctionDeleted, GetRevisionRequest, GetRevisionResponse, Script, Snapshot,
    WatchRequest, WatchResponse,
};
use tokio::sync::broadcast;
use tokio_stream::wrappers::BroadcastStream;
use tokio_util::sync::CancellationToken;
use tonic::service::Routes;
use tonic::{Request, Response, Status};

/// A registry with a watch and a revision only.
#[derive(Clone)]
pub struct FakeRegistry {
    state: Arc<Mutex<State>>,
    changes: broadcast::Sender<WatchResponse>,
}

#[derive(Default)]
struct State {
    is_silent: bool,
    is_away: bool,
    /// Cancelled to end the watches.
    end: CancellationToken,
    revision: u64,
    functions: Vec<Function>,
    scripts: Vec<Script>,
}

impl FakeRegistry {
    pub fn new() -> Self {
        Self { state: Arc::default(), changes: broadcast::Sender::new(100) }
    }

    pub fn router(&self) -> axum::Router {
        let services = Routes::new(WatchServer::new(self.clone()));
        services.add_service(RevisionsServer::new(self.clone())).into_axum_router()
    }

    /// Puts a function. Gives the revision.
    pub fn put(&self, function: Function) -> u64 {
        self.put_silently(function)()
    }

    /// Puts a function, and tells watchers when the result is called, which gives the revision.
    pub fn put_silently(&self, function: Function) -> impl FnOnce() -> u64 {
        let mut state = self.state.lock();
        state.revision += 1;
        state.functions.retain(|known| known.id != function.id);
        state.functions.push(function.clone());
        let change = Change { change: Some(Kind::FunctionPut(function)) };
        let (this, revision) = (self.clone(), state.revision);
        move || this.notify(revision, change)
    }

    /// Deletes the function with this id.
    pub fn delete(&self, id: &str) -> u64 {
        let mut state = self.state.lock();
        state.revision += 1;
        state.functions.retain(|known| known.id != id);
        let deleted = FunctionDeleted { id: id.into(), ..FunctionDeleted::default() };
        self.notify(state.revision, Change { change: Some(Kind::FunctionDeleted(deleted)) })
    }

    /// Puts a script. Gives the revision.
    pub fn put_script(&self, name: &str, content: &str) -> u64 {
        let script = Script { name: name.into(), content: content.into(), ..Script::default() };
        let mut state = self.state.lock();
        state.revision += 1;
        state.scripts.retain(|known| known.name != name);
        state.scripts.push(script.clone());
        self.notify(state.revision, Change { change: Some(Kind::ScriptPut(script)) })
    }

    /// Sets whether it fails to tell its revision.
    pub fn set_silent(&self, is_silent: bool) {
        self.state.lock().is_silent = is_silent;
    }

    /// Sets whether it is away: it ends all watches, and fails all calls.
    pub fn set_away(&self, is_away: bool) {
        let mut state = self.state.lock();
        (state.is_silent, state.is_away) = (is_away, is_away);
        std::mem::take(&mut state.end).cancel();
    }

    fn notify(&self, revision: u64, change: Change) -> u64 {
        let body = Some(Body::Changes(ChangeSet { changes: vec![change] }));
        let _ = self.changes.send(WatchResponse { revision, body });
        revision
    }
}

#[tonic::async_trait]
impl Watch for FakeRegistry {
    type WatchStream = Pin<Box<dyn Stream<Item = Result<WatchResponse, Status>> + Send>>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let state = self.state.lock();
        if state.is_away {
            return Err(Error::unavailable("it is away").into());
        }
        let changes = BroadcastStream::new(self.changes.subscribe());
        let snapshot = Snapshot {
            functions: state.functions.clone(),
            scripts: state.scripts.clone(),
            complete: true,
            ..Snapshot::default()
        };
        let snapshot = WatchResponse { revision: state.revision, body: Some(Body::Snapshot(snapshot)) };
        let changes = changes.map(|change| change.map_err(|_| Status::data_loss("lagged")));
        let messages = tokio_stream::once(Ok(snapshot)).chain(changes);
        Ok(Response::new(Box::pin(messages.take_until(state.end.clone().cancelled_owned()))))
    }
}

#[tonic::async_trait]
impl Revisions for FakeRegistry {
    async fn get_revision(
        &self,
        _: Request<GetRevisionRequest>,
    ) -> Result<Response<GetRevisionResponse>, Status> {
        let state = self.state.lock();
        if state.is_silent {
            return Err(Error::unavailable("it is away").into());
        }
        Ok(Response::new(GetRevisionResponse { revision: state.revision }))
    }
}
