//! A server in place of the registry: the code store and the watch.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;

use bytes::Bytes;
use futures::Stream;
use mesh::config::ServerConfig;
use mesh::endpoint::Endpoint;
use mesh::hash::Hash;
use mesh::health::Readiness;
use mesh::server::Grpc;
use mesh::shutdown::Tasks;
use mesh::testing::Served;
use mesh::{Error, Reason};
use parking_lot::Mutex;
use proto::registry::v1::change::Change as What;
use proto::registry::v1::code_store_server::{CodeStore, CodeStoreServer};
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::watch_server::{Watch, WatchServer};
use proto::registry::v1::{
    Change, ChangeSet, Code, CodeKind, FetchCodeRequest, FetchCodeResponse, Function, FunctionDeleted,
    Snapshot, WatchRequest, WatchResponse,
};
use tokio::sync::{Semaphore, broadcast};
use tonic::{Request, Response, Status};

/// A registry with code and functions, served until it is dropped.
pub struct Registry {
    state: Arc<State>,
    served: Served,
}

struct State {
    code: Mutex<HashMap<Hash, Bytes>>,
    functions: Mutex<HashMap<String, Function>>,
    changes: broadcast::Sender<Change>,
    /// In the order of the requests.
    fetched: Mutex<Vec<Hash>>,
    /// Each fetch takes a permit.
    gate: Semaphore,
}

impl Registry {
    pub async fn start() -> Self {
        let state = Arc::new(State {
            code: Mutex::default(),
            functions: Mutex::default(),
            changes: broadcast::channel(64).0,
            fetched: Mutex::default(),
            gate: Semaphore::new(Semaphore::MAX_PERMITS / 2),
        });
        let router = Grpc::default()
            .service(CodeStoreServer::from_arc(Arc::clone(&state)))
            .service(WatchServer::from_arc(Arc::clone(&state)))
            .build(
                &ServerConfig::default(),
                &prometheus::Registry::new(),
                &Readiness::default(),
                &Tasks::default(),
            );
        Self { state, served: Served::start(router).await }
    }

    /// Ends it at once.
    pub fn kill(self) {
        self.served.kill();
    }

    pub fn endpoint(&self) -> Endpoint {
        self.served.endpoint.clone()
    }

    /// Stores code that no function uses.
    pub fn add_code(&self, code: Bytes) -> Hash {
        let hash = Hash::of(&code);
        self.state.code.lock().insert(hash, code);
        hash
    }

    /// Replaces the code with this hash by other code.
    pub fn tamper(&self, hash: Hash, code: Bytes) {
        self.state.code.lock().insert(hash, code);
    }

    pub fn remove_code(&self, hash: Hash) {
        self.state.code.lock().remove(&hash);
    }

    /// Creates or updates a function.
    pub fn put_function(&self, id: &str, code: Bytes) -> Hash {
        self.put_function_of("", id, code)
    }

    /// Creates or updates a function of this subject.
    pub fn put_function_of(&self, creator: &str, id: &str, code: Bytes) -> Hash {
        let size = code.len() as u64;
        let hash = self.add_code(code);
        let code = Code { hash: hash.to_bytes(), size, kind: CodeKind::Funless.into() };
        let function =
            Function { id: id.into(), creator: creator.into(), code: Some(code), ..Function::default() };
        self.state.functions.lock().insert(id.into(), function.clone());
        let _ = self.state.changes.send(Change { change: Some(What::FunctionPut(function)) });
        hash
    }

    pub fn delete_function(&self, id: &str) {
        self.state.functions.lock().remove(id);
        let deleted = FunctionDeleted { id: id.into(), ..FunctionDeleted::default() };
        let _ = self.state.changes.send(Change { change: Some(What::FunctionDeleted(deleted)) });
    }

    pub fn fetches(&self) -> usize {
        self.fetched().len()
    }

    /// The code that was fetched, in the order of the requests.
    pub fn fetched(&self) -> Vec<Hash> {
        self.state.fetched.lock().clone()
    }

    /// Holds back responses to fetches until [`Registry::release`].
    pub fn hold_back(&self) {
        self.state.gate.forget_permits(usize::MAX);
    }

    pub fn release(&self) {
        self.state.gate.add_permits(1000);
    }
}

type ResponseStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl CodeStore for State {
    type FetchCodeStream = ResponseStream<FetchCodeResponse>;

    async fn fetch_code(
        &self,
        request: Request<FetchCodeRequest>,
    ) -> Result<Response<Self::FetchCodeStream>, Status> {
        assert!(mesh::deadline::Deadline::of(&request).is_some(), "every call carries a deadline");
        let hash = Hash::try_from(request.into_inner().hash.as_ref()).expect("a hash");
        self.fetched.lock().push(hash);
        self.gate.acquire().await.expect("never closed").forget();
        let code = self.code.lock().get(&hash).cloned();
        let code = code.ok_or_else(|| Error::new(Reason::CodeNotFound, "no function uses this code"))?;
        let chunks: Vec<_> = code
            .chunks(100)
            .map(|chunk| Ok(FetchCodeResponse { chunk: Bytes::copy_from_slice(chunk) }))
            .collect();
        Ok(Response::new(Box::pin(futures::stream::iter(chunks))))
    }
}

#[tonic::async_trait]
impl Watch for State {
    type WatchStream = ResponseStream<WatchResponse>;

    async fn watch(&self, _: Request<WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut changes = self.changes.subscribe();
        let functions = self.functions.lock().values().cloned().collect();
        let snapshot = Snapshot { functions, complete: true, ..Snapshot::default() };
        Ok(Response::new(Box::pin(async_stream::stream! {
            yield Ok(WatchResponse { revision: 1, body: Some(Body::Snapshot(snapshot)) });
            while let Ok(change) = changes.recv().await {
                let changes = ChangeSet { changes: vec![change] };
                yield Ok(WatchResponse { revision: 2, body: Some(Body::Changes(changes)) });
            }
        })))
    }
}
