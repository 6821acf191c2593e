//! A fake registry in memory. It accepts and refuses requests like the real one.

use std::collections::{BTreeMap, BTreeSet};
use std::pin::Pin;
use std::sync::Arc;

use futures::{Stream, StreamExt as _};
use mesh::hash::Hash;
use mesh::server::Grpc;
use mesh::{Caller, Error, Reason};
use parking_lot::Mutex;
use proto::registry::v1::authentication_server::{Authentication, AuthenticationServer};
use proto::registry::v1::code_store_server::{CodeStore, CodeStoreServer};
use proto::registry::v1::functions_server::{Functions, FunctionsServer};
use proto::registry::v1::modules_server::{Modules, ModulesServer};
use proto::registry::v1::scripts_server::{Scripts, ScriptsServer};
use proto::registry::v1::subjects_server::{Subjects, SubjectsServer};
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::watch_server::{Watch, WatchServer};
use proto::registry::v1::*;
use tokio::sync::watch;
use tonic::{Request, Response, Status, Streaming};

use super::{ANN, Failure, ROOT, fail_if_set};

type Reply<T> = Result<Response<T>, Status>;

#[derive(Clone)]
pub struct FakeRegistry {
    pub state: Arc<Mutex<State>>,
    /// The error of the next call.
    pub failure: Failure,
    revision: Arc<watch::Sender<u64>>,
}

#[derive(Default)]
pub struct State {
    pub modules: BTreeMap<String, BTreeMap<String, Function>>,
    pub scripts: BTreeMap<String, String>,
    /// The name of a script that a function uses.
    pub used_script: String,
    pub subjects: BTreeMap<String, Subject>,
    /// The names of subjects, by token.
    pub tokens: BTreeMap<String, String>,
    /// Whether every call fails.
    pub is_away: bool,
    /// The number of authentication requests.
    pub authenticated: usize,
    /// The caller of the last call.
    pub caller: Option<Caller>,
    /// The specification of the last update.
    pub update: Option<UpdateFunctionSpec>,
    /// The code of the last upload.
    pub code: Vec<u8>,
    /// The size of the largest chunk, in bytes.
    pub largest_chunk: usize,
    /// Each open watch holds a reference.
    pub watches: Arc<()>,
}

impl Default for FakeRegistry {
    fn default() -> Self {
        let mut state = State::default();
        state.modules.insert("_".into(), BTreeMap::new());
        for (token, name, role) in [(ANN, "ann", Role::Subject), (ROOT, "root", Role::Admin)] {
            state.tokens.insert(token.into(), name.into());
            let subject = Subject { name: name.into(), role: role.into(), expires_at_ms: 0 };
            state.subjects.insert(name.into(), subject);
        }
        Self {
            state: Arc::new(Mutex::new(state)),
            failure: Failure::default(),
            revision: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl FakeRegistry {
    /// Revokes a token.
    pub fn revoke(&self, token: &str) {
        self.state.lock().tokens.remove(token);
    }

    /// Its gRPC services.
    pub fn services(&self) -> Grpc {
        Grpc::default()
            .service(ModulesServer::new(self.clone()))
            .service(FunctionsServer::new(self.clone()))
            .service(ScriptsServer::new(self.clone()))
            .service(SubjectsServer::new(self.clone()))
            .service(AuthenticationServer::new(self.clone()))
            .service(CodeStoreServer::new(self.clone()))
            .service(WatchServer::new(self.clone()))
    }

    /// Records a call, and fails if a failure is set.
    fn called<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let mut state = self.state.lock();
        fail_if_away(&state)?;
        state.caller = Some(Caller::of(request));
        drop(state);
        fail_if_set(&self.failure)
    }

    fn wrote(&self) -> u64 {
        self.revision.send_modify(|revision| *revision += 1);
        *self.revision.borrow()
    }
}

fn fail_if_away(state: &State) -> Result<(), Status> {
    match state.is_away {
        true => Err(Error::unavailable("the database is away").into()),
        false => Ok(()),
    }
}

fn no(reason: Reason, what: &str) -> Status {
    Error::new(reason, what).into()
}

fn check_name(name: &str, taken: bool) -> Result<(), Status> {
    let message = if name.trim().is_empty() {
        "can't be blank"
    } else if !name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_') {
        "must contain only alphanumeric characters and underscores"
    } else if name.len() > 160 {
        "should be at most 160 character(s)"
    } else if taken {
        "has already been taken"
    } else {
        return Ok(());
    };
    Err(Error::field("name", message).into())
}

fn module(name: String) -> Option<Module> {
    Some(Module { name, owner: String::new() })
}

#[tonic::async_trait]
impl Modules for FakeRegistry {
    async fn create_module(&self, request: Request<CreateModuleRequest>) -> Reply<CreateModuleResponse> {
        self.called(&request)?;
        let name = request.into_inner().name;
        let mut state = self.state.lock();
        check_name(&name, state.modules.contains_key(&name))?;
        state.modules.insert(name.clone(), BTreeMap::new());
        Ok(Response::new(CreateModuleResponse { module: module(name), revision: self.wrote() }))
    }

    async fn get_module(&self, request: Request<GetModuleRequest>) -> Reply<GetModuleResponse> {
        self.called(&request)?;
        let name = request.into_inner().name;
        let state = self.state.lock();
        let functions = state.modules.get(&name).ok_or_else(|| no(Reason::ModuleNotFound, &name))?;
        let functions = functions.keys().cloned().collect();
        Ok(Response::new(GetModuleResponse { module: module(name), functions }))
    }

    async fn list_modules(&self, request: Request<ListModulesRequest>) -> Reply<ListModulesResponse> {
        self.called(&request)?;
        let names: BTreeSet<_> = self.state.lock().modules.keys().cloned().collect();
        let (first, rest): (Vec<_>, Vec<_>) = names.into_iter().partition(|name| name == "_");
        let modules = first.into_iter().chain(rest).filter_map(module).collect();
        Ok(Response::new(ListModulesResponse { modules }))
    }

    async fn rename_module(&self, request: Request<RenameModuleRequest>) -> Reply<RenameModuleResponse> {
        self.called(&request)?;
        let RenameModuleRequest { name, new_name } = request.into_inner();
        let mut state = self.state.lock();
        if name == "_" {
            return Err(no(Reason::DefaultModule, "Cannot rename default module"));
        }
        if !state.modules.contains_key(&name) {
            return Err(no(Reason::ModuleNotFound, &name));
        }
        check_name(&new_name, state.modules.contains_key(&new_name))?;
        let functions = state.modules.remove(&name).unwrap_or_default();
        state.modules.insert(new_name.clone(), functions);
        Ok(Response::new(RenameModuleResponse { module: module(new_name), revision: self.wrote() }))
    }

    async fn delete_module(&self, request: Request<DeleteModuleRequest>) -> Reply<DeleteModuleResponse> {
        self.called(&request)?;
        let name = request.into_inner().name;
        if name == "_" {
            return Err(no(Reason::DefaultModule, "Cannot delete default module"));
        }
        let removed = self.state.lock().modules.remove(&name);
        removed.ok_or_else(|| no(Reason::ModuleNotFound, &name))?;
        Ok(Response::new(DeleteModuleResponse { revision: self.wrote() }))
    }
}

fn store_code(state: &mut State, function: &mut Function, code: Vec<u8>) -> Result<(), Status> {
    if !code.starts_with(b"\0asm") {
        return Err(Error::field("code", "is not WebAssembly").into());
    }
    let hash = Hash::of(&code).to_bytes();
    function.code = Some(Code { hash, size: code.len() as u64, kind: CodeKind::Funless.into() });
    state.code = code;
    Ok(())
}

/// Gives each binding an id, made of its type and index.
fn with_ids(bindings: Vec<Binding>) -> Vec<Binding> {
    let with_id =
        |(index, binding): (usize, Binding)| Binding { id: format!("{}-{index}", binding.r#type), ..binding };
    bindings.into_iter().enumerate().map(with_id).collect()
}

#[tonic::async_trait]
impl Functions for FakeRegistry {
    async fn create_function(
        &self,
        request: Request<Streaming<CreateFunctionRequest>>,
    ) -> Reply<CreateFunctionResponse> {
        let creator = Caller::of(&request).owner().to_owned();
        self.called(&request)?;
        let mut parts = request.into_inner();
        let (mut spec, mut code) = (None, Vec::new());
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(create_function_request::Part::Spec(first)) => spec = Some(first),
                Some(create_function_request::Part::Chunk(chunk)) => {
                    let mut state = self.state.lock();
                    state.largest_chunk = state.largest_chunk.max(chunk.len());
                    code.extend(chunk);
                }
                None => {}
            }
        }
        let spec = spec.ok_or_else(|| no(Reason::BadRequest, "no specification"))?;
        let mut state = self.state.lock();
        let functions =
            state.modules.get(&spec.module).ok_or_else(|| no(Reason::ModuleNotFound, &spec.module))?;
        check_name(&spec.name, false)?;
        if functions.contains_key(&spec.name) {
            return Err(no(Reason::FunctionExists, &spec.name));
        }
        let mut function = Function {
            id: format!("id-{}", spec.name),
            module: spec.module.clone(),
            name: spec.name,
            metadata: spec.metadata,
            limits: spec.limits,
            events: with_ids(spec.events),
            sinks: with_ids(spec.sinks),
            created_at_ms: 1_700_000_000_000,
            updated_at_ms: 1_700_000_000_000,
            creator,
            ..Function::default()
        };
        store_code(&mut state, &mut function, code)?;
        let functions = state.modules.get_mut(&spec.module).expect("checked");
        functions.insert(function.name.clone(), function.clone());
        Ok(Response::new(CreateFunctionResponse { function: Some(function), revision: self.wrote() }))
    }

    async fn get_function(&self, request: Request<GetFunctionRequest>) -> Reply<GetFunctionResponse> {
        self.called(&request)?;
        let GetFunctionRequest { module, name } = request.into_inner();
        let state = self.state.lock();
        let function = state.modules.get(&module).and_then(|functions| functions.get(&name)).cloned();
        let function = Some(function.ok_or_else(|| no(Reason::FunctionNotFound, &name))?);
        Ok(Response::new(GetFunctionResponse { function }))
    }

    async fn list_functions(&self, request: Request<ListFunctionsRequest>) -> Reply<ListFunctionsResponse> {
        self.called(&request)?;
        let module = request.into_inner().module;
        let state = self.state.lock();
        let functions = state.modules.get(&module).ok_or_else(|| no(Reason::ModuleNotFound, &module))?;
        Ok(Response::new(ListFunctionsResponse {
            functions: functions.values().cloned().collect(),
            ..ListFunctionsResponse::default()
        }))
    }

    async fn update_function(
        &self,
        request: Request<Streaming<UpdateFunctionRequest>>,
    ) -> Reply<UpdateFunctionResponse> {
        self.called(&request)?;
        let mut parts = request.into_inner();
        let (mut spec, mut code) = (None, Vec::new());
        while let Some(message) = parts.message().await? {
            match message.part {
                Some(update_function_request::Part::Spec(first)) => spec = Some(first),
                Some(update_function_request::Part::Chunk(chunk)) => code.extend(chunk),
                None => {}
            }
        }
        let spec = spec.ok_or_else(|| no(Reason::BadRequest, "no specification"))?;
        let mut state = self.state.lock();
        state.update = Some(spec.clone());
        let mut functions =
            state.modules.get(&spec.module).cloned().ok_or_else(|| no(Reason::FunctionNotFound, ""))?;
        let mut function = functions.remove(&spec.name).ok_or_else(|| no(Reason::FunctionNotFound, ""))?;
        if let Some(name) = spec.new_name {
            check_name(&name, false)?;
            if functions.contains_key(&name) {
                return Err(no(Reason::FunctionExists, &name));
            }
            function.name = name;
        }
        function.metadata = spec.metadata.or(function.metadata);
        function.limits = spec.limits.or(function.limits);
        function.events = spec.events.map_or(function.events, |list| with_ids(list.bindings));
        function.sinks = spec.sinks.map_or(function.sinks, |list| with_ids(list.bindings));
        if !code.is_empty() {
            store_code(&mut state, &mut function, code)?;
        }
        functions.insert(function.name.clone(), function.clone());
        state.modules.insert(spec.module, functions);
        Ok(Response::new(UpdateFunctionResponse { function: Some(function), revision: self.wrote() }))
    }

    async fn delete_function(
        &self,
        request: Request<DeleteFunctionRequest>,
    ) -> Reply<DeleteFunctionResponse> {
        self.called(&request)?;
        let DeleteFunctionRequest { module, name } = request.into_inner();
        let mut state = self.state.lock();
        let removed = state.modules.get_mut(&module).and_then(|functions| functions.remove(&name));
        removed.ok_or_else(|| no(Reason::FunctionNotFound, &name))?;
        Ok(Response::new(DeleteFunctionResponse { revision: self.wrote() }))
    }
}

#[tonic::async_trait]
impl Scripts for FakeRegistry {
    async fn create_script(&self, request: Request<CreateScriptRequest>) -> Reply<CreateScriptResponse> {
        self.called(&request)?;
        let script = request.into_inner().script.unwrap_or_default();
        let mut state = self.state.lock();
        if script.name.is_empty() {
            return Err(Error::field("name", "can't be blank").into());
        }
        if state.scripts.contains_key(&script.name) {
            return Err(Error::field("name", "has already been taken").into());
        }
        if script.content.is_empty() {
            return Err(Error::field("content", "can't be blank").into());
        }
        state.scripts.insert(script.name.clone(), script.content.clone());
        Ok(Response::new(CreateScriptResponse { script: Some(script), revision: self.wrote() }))
    }

    async fn get_script(&self, request: Request<GetScriptRequest>) -> Reply<GetScriptResponse> {
        self.called(&request)?;
        let name = request.into_inner().name;
        let content = self.state.lock().scripts.get(&name).cloned();
        let content = content.ok_or_else(|| no(Reason::ScriptNotFound, &format!("no script {name}")))?;
        Ok(Response::new(GetScriptResponse { script: Some(Script { name, content, ..Script::default() }) }))
    }

    async fn list_scripts(&self, request: Request<ListScriptsRequest>) -> Reply<ListScriptsResponse> {
        self.called(&request)?;
        let scripts = self.state.lock().scripts.clone();
        let scripts = scripts
            .into_iter()
            .map(|(name, content)| Script { name, content, ..Script::default() })
            .collect();
        Ok(Response::new(ListScriptsResponse { scripts, ..ListScriptsResponse::default() }))
    }

    async fn delete_script(&self, request: Request<DeleteScriptRequest>) -> Reply<DeleteScriptResponse> {
        self.called(&request)?;
        let DeleteScriptRequest { name, force } = request.into_inner();
        let mut state = self.state.lock();
        if state.used_script == name && state.scripts.contains_key(&name) && !force {
            return Err(no(Reason::ScriptInUse, "a function uses it"));
        }
        let removed = state.scripts.remove(&name);
        drop(state);
        removed.ok_or_else(|| no(Reason::ScriptNotFound, &format!("no script {name}")))?;
        Ok(Response::new(DeleteScriptResponse { revision: self.wrote() }))
    }
}

#[tonic::async_trait]
impl Subjects for FakeRegistry {
    async fn create_subject(&self, request: Request<CreateSubjectRequest>) -> Reply<CreateSubjectResponse> {
        self.called(&request)?;
        let name = request.into_inner().name;
        let mut state = self.state.lock();
        check_name(&name, state.subjects.contains_key(&name))?;
        let subject = Subject { name: name.clone(), role: Role::Subject.into(), expires_at_ms: 0 };
        let token = format!("token-of-{name}");
        state.subjects.insert(name.clone(), subject.clone());
        state.tokens.insert(token.clone(), name);
        Ok(Response::new(CreateSubjectResponse { subject: Some(subject), token }))
    }

    async fn list_subjects(&self, request: Request<ListSubjectsRequest>) -> Reply<ListSubjectsResponse> {
        self.called(&request)?;
        let subjects = self.state.lock().subjects.values().cloned().collect();
        Ok(Response::new(ListSubjectsResponse { subjects }))
    }

    async fn delete_subject(&self, request: Request<DeleteSubjectRequest>) -> Reply<DeleteSubjectResponse> {
        self.called(&request)?;
        let name = request.into_inner().name;
        let mut state = self.state.lock();
        state.subjects.remove(&name).ok_or_else(|| no(Reason::SubjectNotFound, &name))?;
        state.tokens.retain(|_, owner| *owner != name);
        Ok(Response::new(DeleteSubjectResponse {}))
    }
}

#[tonic::async_trait]
impl Authentication for FakeRegistry {
    async fn authenticate(&self, request: Request<AuthenticateRequest>) -> Reply<AuthenticateResponse> {
        let mut state = self.state.lock();
        fail_if_away(&state)?;
        state.authenticated += 1;
        let token = request.into_inner().token;
        let subject = state.tokens.get(&token).and_then(|name| state.subjects.get(name)).cloned();
        let subject = Some(subject.ok_or_else(|| no(Reason::Unauthenticated, "unknown"))?);
        Ok(Response::new(AuthenticateResponse { subject }))
    }
}

type Messages<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

#[tonic::async_trait]
impl CodeStore for FakeRegistry {
    type FetchCodeStream = Messages<FetchCodeResponse>;

    async fn fetch_code(&self, _: Request<FetchCodeRequest>) -> Reply<Self::FetchCodeStream> {
        let chunk = self.state.lock().code.clone().into();
        Ok(Response::new(Box::pin(futures::stream::iter([Ok(FetchCodeResponse { chunk })]))))
    }
}

#[tonic::async_trait]
impl Watch for FakeRegistry {
    type WatchStream = Messages<WatchResponse>;

    /// An empty snapshot, then a message for each new revision.
    async fn watch(&self, request: Request<WatchRequest>) -> Reply<Self::WatchStream> {
        self.called(&request)?;
        let open = Arc::clone(&self.state.lock().watches);
        let message = |revision, body| WatchResponse { revision, body: Some(body) };
        let mut revisions = self.revision.subscribe();
        let first = *revisions.borrow_and_update();
        let snapshot = Body::Snapshot(Snapshot { complete: true, ..Snapshot::default() });
        let changes = tokio_stream::wrappers::WatchStream::from_changes(revisions);
        let changes = changes.map(move |revision| {
            let _open = &open;
            Ok(message(revision, Body::Changes(ChangeSet::default())))
        });
        let stream = futures::stream::iter([Ok(message(first, snapshot))]).chain(changes);
        Ok(Response::new(Box::pin(stream)))
    }
}
