//! Registries under test, run in this process and called through gRPC.

use std::time::Duration;

use mesh::auth::Secret;
use mesh::bindings::share_of;
use mesh::channel::Channel;
use mesh::server::Service;
use mesh::{Caller, Error, Host, Reason};
use proto::registry::v1::authentication_client::AuthenticationClient;
use proto::registry::v1::bindings_client::BindingsClient;
use proto::registry::v1::code_store_client::CodeStoreClient;
use proto::registry::v1::create_function_request::Part as CreatePart;
use proto::registry::v1::functions_client::FunctionsClient;
use proto::registry::v1::modules_client::ModulesClient;
use proto::registry::v1::revisions_client::RevisionsClient;
use proto::registry::v1::scripts_client::ScriptsClient;
use proto::registry::v1::subjects_client::SubjectsClient;
use proto::registry::v1::update_function_request::Part as UpdatePart;
use proto::registry::v1::watch_client::WatchClient;
use proto::registry::v1::{
    Binding, CreateFunctionRequest, CreateFunctionResponse, CreateFunctionSpec, CreateModuleRequest,
    CreateScriptRequest, FetchCodeRequest, HoldBindingsRequest, HoldBindingsResponse, Script,
    UpdateFunctionRequest, UpdateFunctionResponse, UpdateFunctionSpec, WatchRequest, WatchResponse,
};
use registry_svc::{App, Config};
use tonic::{Request, Status, Streaming};

pub use mesh::database_contract as contract;
pub use mesh::testing::database::Database;

/// The configuration of a registry that uses this database.
pub fn config(database: &Database) -> Config {
    let encryption_key = Some(Secret::new("5e".repeat(32)));
    Config { database_url: database.url(), encryption_key, ..Config::default() }
}

/// The stored parameters of all bindings.
pub async fn stored_params(database: &Database) -> Vec<String> {
    database.query("SELECT params FROM binding ORDER BY id").await
}

/// Replaces the stored parameters of all bindings.
pub async fn store_params(database: &Database, params: &str) {
    database.execute("UPDATE binding SET params = $1", [params.into()]).await;
}

/// A registry in this process.
pub struct Registry {
    pub host: Host,
    pub service: Service,
    channel: Channel,
}

impl Registry {
    pub async fn start(database: &Database) -> Self {
        Self::start_as(config(database)).await
    }

    pub async fn start_as(config: Config) -> Self {
        let host = mesh::testing::host("registry");
        let service = App::start(config, host.clone()).await.expect("failed to start the registry");
        let channel = mesh::testing::serve_local(&host, &service);
        Self { host, service, channel }
    }

    pub async fn stop(self) {
        self.host.draining.cancel();
        self.service.tasks.stop(Duration::from_secs(5)).await;
    }

    pub fn is_ready(&self) -> bool {
        *self.service.readiness.watch().borrow()
    }

    pub fn modules(&self) -> ModulesClient<Channel> {
        ModulesClient::new(self.channel.clone())
    }

    pub fn functions(&self) -> FunctionsClient<Channel> {
        FunctionsClient::new(self.channel.clone())
    }

    pub fn bindings(&self) -> BindingsClient<Channel> {
        BindingsClient::new(self.channel.clone())
    }

    /// The share of a holder.
    pub async fn hold(&self, request: HoldBindingsRequest) -> Result<HoldBindingsResponse, Status> {
        share_of(self.bindings().hold_bindings(request).await?.into_inner()).await
    }

    pub fn scripts(&self) -> ScriptsClient<Channel> {
        ScriptsClient::new(self.channel.clone())
    }

    pub fn subjects(&self) -> SubjectsClient<Channel> {
        SubjectsClient::new(self.channel.clone())
    }

    pub fn authentication(&self) -> AuthenticationClient<Channel> {
        AuthenticationClient::new(self.channel.clone())
    }

    /// Creates a script with this name.
    pub async fn create_script(&self, name: &str) {
        let script = Script { name: name.into(), content: "- default:".into(), ..Script::default() };
        let request = CreateScriptRequest { script: Some(script) };
        self.scripts().create_script(request).await.expect("created");
    }

    /// Creates a module as a service and returns the revision.
    pub async fn create_module(&self, name: &str) -> u64 {
        let request = CreateModuleRequest { name: name.into() };
        self.modules().create_module(request).await.expect(name).into_inner().revision
    }

    /// Creates a function as a service.
    pub async fn create(
        &self,
        spec: CreateFunctionSpec,
        code: &[u8],
    ) -> Result<CreateFunctionResponse, Status> {
        let parts = create_parts(spec, code);
        Ok(self.functions().create_function(futures::stream::iter(parts)).await?.into_inner())
    }

    /// Updates a function as a service, with new code if `code` is set.
    pub async fn update(
        &self,
        spec: UpdateFunctionSpec,
        code: Option<&[u8]>,
    ) -> Result<UpdateFunctionResponse, Status> {
        let mut parts = vec![UpdateFunctionRequest { part: Some(UpdatePart::Spec(spec)) }];
        parts.extend(
            code.map(|code| UpdateFunctionRequest { part: Some(UpdatePart::Chunk(code.to_vec().into())) }),
        );
        Ok(self.functions().update_function(futures::stream::iter(parts)).await?.into_inner())
    }

    /// Fetches code as a service.
    pub async fn fetch_code(&self, hash: &[u8]) -> Result<Vec<u8>, Status> {
        let mut client = CodeStoreClient::new(self.channel.clone());
        let request = FetchCodeRequest { hash: hash.to_vec().into() };
        let mut chunks = client.fetch_code(request).await?.into_inner();
        let mut code = Vec::new();
        while let Some(response) = chunks.message().await? {
            assert!(response.chunk.len() <= 256 << 10, "a chunk of {} bytes", response.chunk.len());
            code.extend_from_slice(&response.chunk);
        }
        Ok(code)
    }

    pub fn revisions(&self) -> RevisionsClient<Channel> {
        RevisionsClient::new(self.channel.clone())
    }

    /// Watches the registry on behalf of `caller`.
    pub async fn watch(&self, caller: &Caller) -> Watching {
        self.watch_as(caller, WatchRequest::default()).await
    }

    /// Watches what `request` asks for on behalf of `caller`.
    pub async fn watch_as(&self, caller: &Caller, request: WatchRequest) -> Watching {
        let request = caller.attach(Request::new(request));
        let stream = WatchClient::new(self.channel.clone()).watch(request).await.expect("a watch");
        Watching { stream: stream.into_inner() }
    }
}

/// A stream of the registry's changes.
pub struct Watching {
    stream: Streaming<WatchResponse>,
}

impl Watching {
    /// Waits a few seconds for the next message; `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<WatchResponse> {
        self.next_within(Duration::from_secs(10)).await
    }

    pub async fn next_within(&mut self, patience: Duration) -> Option<WatchResponse> {
        let message = tokio::time::timeout(patience, self.stream.message()).await;
        message.expect("no message in time").expect("the stream failed")
    }
}

/// The messages that create a function.
pub fn create_parts(spec: CreateFunctionSpec, code: &[u8]) -> Vec<CreateFunctionRequest> {
    let mut parts = vec![CreateFunctionRequest { part: Some(CreatePart::Spec(spec)) }];
    let chunks = code.chunks(100 << 10);
    parts.extend(
        chunks.map(|chunk| CreateFunctionRequest { part: Some(CreatePart::Chunk(chunk.to_vec().into())) }),
    );
    parts
}

/// The specification of a function with this name in this module.
pub fn spec(module: &str, name: &str) -> CreateFunctionSpec {
    CreateFunctionSpec { module: module.into(), name: name.into(), ..CreateFunctionSpec::default() }
}

/// A binding without an id, as in a request.
pub fn binding(r#type: &str, params: &str) -> Binding {
    Binding { id: String::new(), r#type: r#type.into(), params: params.into() }
}

/// A FunLess function that returns a text. Different texts make different binaries.
pub fn wasm(text: &str) -> Vec<u8> {
    let (length, pages) = (text.len(), text.len() / 65536 + 1);
    let module = format!(
        r#"(module
            (import "fl_imps" "__insert_response" (func $respond (param i32 i32)))
            (memory (export "memory") {pages})
            (data (i32.const 0) "{text}")
            (func (export "__invoke") (param i32) (result i32)
                (call $respond (i32.const 0) (i32.const {length})) (i32.const 0)))"#
    );
    wat::parse_str(module).expect("valid WebAssembly")
}

/// A request on behalf of a subject.
pub fn as_subject<T>(name: &str, message: T) -> Request<T> {
    Caller::Subject(name.into()).attach(Request::new(message))
}

/// A request on behalf of an administrator.
pub fn as_admin<T>(message: T) -> Request<T> {
    Caller::Admin("root".into()).attach(Request::new(message))
}

/// The reason why a call failed. Panics if it succeeded.
pub fn reason<T: std::fmt::Debug>(result: Result<T, Status>) -> Reason {
    failure(result).reason
}

/// The invalid fields of a call. Panics unless it failed because of them.
pub fn refused<T: std::fmt::Debug>(result: Result<T, Status>) -> Vec<(String, String)> {
    let error = failure(result);
    assert_eq!(error.reason, Reason::InvalidField, "{error}");
    error.fields
}

/// The error of a call. Panics if it succeeded.
pub fn failure<T: std::fmt::Debug>(result: Result<T, Status>) -> Error {
    result.expect_err("the call should fail").into()
}
