//! The gRPC port for clients, used with only the published protobufs.

use proto::registry::v1::functions_client::FunctionsClient;
use proto::registry::v1::modules_client::ModulesClient;
use proto::registry::v1::scripts_client::ScriptsClient;
use proto::registry::v1::subjects_client::SubjectsClient;
use proto::registry::v1::watch_client::WatchClient;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::{
    CreateFunctionSpec, CreateModuleRequest, CreateScriptRequest, CreateSubjectRequest, DeleteModuleRequest,
    DeleteScriptRequest, GetFunctionRequest, ListModulesRequest, Script, WatchRequest, WatchResponse, change,
};
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::invoke_response::Outcome;
use proto::scheduler::v1::{InvokeRequest, InvokeResponse};
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::execution_client::ExecutionClient;
use tests::grpc::{Connection, connect, create_function};
use tests::{Mesh, guests};
use tokio_stream::StreamExt as _;
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Streaming};
use tonic_prost::ProstCodec;

pub async fn a_client_made_from_the_protos(mesh: &Mesh) {
    let user = mesh.admin().create_subject("grpc_user").await;
    let connection = connect(mesh, user.token()).await;
    let mut watch =
        WatchClient::new(connection.clone()).watch(WatchRequest::default()).await.expect("a watch");
    let mut known = snapshot(watch.get_mut()).await;
    assert!(known.contains(&"_".to_owned()), "{known:?}");

    let mut modules = ModulesClient::new(connection.clone());
    let created = modules.create_module(CreateModuleRequest { name: "grpc_own".into() }).await;
    let created = created.expect("a module").into_inner();
    assert_eq!(created.module.expect("the module").owner, "grpc_user");
    let spec = CreateFunctionSpec { module: "grpc_own".into(), name: "f".into(), ..Default::default() };
    let created = create_function(&connection, spec.clone(), &guests::hello()).await.expect("a function");
    let function = created.function.expect("the function");
    assert_eq!(function.code.expect("its code").size, guests::hello().len() as u64);

    let invoke = |args: &'static str| InvokeRequest {
        module: "grpc_own".into(),
        function: "f".into(),
        args: args.as_bytes().into(),
        min_revision: created.revision,
        ..Default::default()
    };
    let answer = call(&connection, invoke(r#"{"name":"gRPC"}"#)).await.expect("a response");
    assert_eq!(answer.outcome, Some(Outcome::Result(br#"{"payload":"Hello gRPC!"}"#.as_slice().into())));
    assert!(!answer.worker.is_empty() && !answer.invocation_id.is_empty());
    let answer = call(&connection, invoke("{}")).await.expect("a function's own error is a response");
    assert!(matches!(answer.outcome, Some(Outcome::FunctionError(_))), "{answer:?}");

    // For a taken name and a missing function, the reason is in the details.
    let taken = create_function(&connection, spec, &guests::hello()).await.expect_err("the name is taken");
    assert_eq!((taken.code(), reason(&taken)), (Code::AlreadyExists, "FUNCTION_EXISTS".into()));
    let missing = GetFunctionRequest { module: "grpc_own".into(), name: "g".into() };
    let missing = FunctionsClient::new(connection.clone()).get_function(missing).await;
    let missing = missing.expect_err("the function does not exist");
    assert_eq!((missing.code(), reason(&missing)), (Code::NotFound, "FUNCTION_NOT_FOUND".into()));

    // The watch has sent all of these changes, and none of other subjects' modules.
    mesh.user().create_module("grpc_others").await;
    mesh.user().delete("/v1/fn/grpc_others").await.expect(204);
    modules.delete_module(DeleteModuleRequest { name: "grpc_own".into() }).await.expect("deleted");
    known.clear();
    while !known.contains(&"-grpc_own".to_owned()) {
        known.extend(changes(watch.get_mut().next().await.expect("the watch continues").expect("a change")));
    }
    let own: Vec<_> = known.iter().filter(|change| change.contains("grpc")).collect();
    assert_eq!(own, ["+grpc_own", "+grpc_own/f", "-grpc_own/f", "-grpc_own"]);
}

pub async fn invalid_scripts_are_refused(mesh: &Mesh) {
    let connection = connect(mesh, mesh.user().token()).await;
    let mut scripts = ScriptsClient::new(connection);
    let create = |content: &str| {
        let script =
            Some(Script { name: "called_script".into(), content: content.into(), ..Default::default() });
        CreateScriptRequest { script }
    };
    for text in ["", "- default:", "- t: [{workers: '*', strategy: best}]", "{"] {
        let refused = scripts.create_script(create(text)).await.expect_err("not a valid script");
        assert_eq!((refused.code(), reason(&refused)), (Code::InvalidArgument, "INVALID_FIELD".into()));
        assert!(refused.message().starts_with("content "), "{text:?}: {}", refused.message());
    }
    scripts.create_script(create("- default: [{workers: '*'}]")).await.expect("a script");
    let deleted = DeleteScriptRequest { name: "called_script".into(), force: false };
    scripts.delete_script(deleted).await.expect("the script was stored");
}

pub async fn requests_without_a_token_are_refused(mesh: &Mesh) {
    for token in [None, Some("nonsense"), Some("")] {
        let connection = connect(mesh, token).await;
        let modules = ModulesClient::new(connection.clone()).list_modules(ListModulesRequest {}).await;
        let watch = WatchClient::new(connection.clone()).watch(WatchRequest::default()).await;
        let invoke = call(&connection, InvokeRequest::default()).await;
        let spec = CreateFunctionSpec { module: "_".into(), name: "f".into(), ..Default::default() };
        let create = create_function(&connection, spec, &guests::hello()).await;
        for status in [modules.err(), watch.err(), invoke.err(), create.err()] {
            let status = status.expect("the call is refused");
            assert_eq!((status.code(), reason(&status)), (Code::Unauthenticated, "UNAUTHENTICATED".into()));
        }
    }
}

pub async fn services_of_the_mesh_are_not_exposed(mesh: &Mesh) {
    let user = connect(mesh, mesh.user().token()).await;
    let subjects = CreateSubjectRequest { name: "grpc_mine".into(), ..Default::default() };
    let refused = SubjectsClient::new(user.clone()).create_subject(subjects).await.expect_err("not admin");
    assert_eq!(refused.code(), Code::PermissionDenied);

    // Even administrators cannot call workers directly.
    let admin = connect(mesh, mesh.admin().token()).await;
    let execute = ExecutionClient::new(admin.clone()).execute(ExecuteRequest::default()).await;
    let code = execute.expect_err("clients cannot call workers").code();
    assert_eq!(code, Code::Unimplemented);

    // Identity headers from clients are ignored.
    let nobody = connect(mesh, None).await;
    let mut forged = Request::new(ListModulesRequest {});
    forged.metadata_mut().insert("x-funless-subject", "admin".parse().expect("ASCII"));
    forged.metadata_mut().insert("x-funless-role", "ROLE_ADMIN".parse().expect("ASCII"));
    let refused = ModulesClient::new(nobody).list_modules(forged).await.expect_err("no token");
    assert_eq!(refused.code(), Code::Unauthenticated);
}

/// Health and reflection need no token. The messages are written by hand from `grpc.health.v1` and
/// `grpc.reflection.v1`.
pub async fn health_and_reflection_need_no_token(mesh: &Mesh) {
    let mut nobody = tonic::client::Grpc::new(connect(mesh, None).await);
    nobody.ready().await.expect("connected");
    let path = PathAndQuery::from_static("/grpc.health.v1.Health/Check");
    let health = nobody.unary(Request::new(()), path, ProstCodec::<(), Health>::default()).await;
    const SERVING: i32 = 1;
    assert_eq!(health.expect("a health status").into_inner().status, SERVING);

    nobody.ready().await.expect("connected");
    let path = PathAndQuery::from_static("/grpc.reflection.v1.ServerReflection/ServerReflectionInfo");
    let ask = tokio_stream::once(ListServices { list_services: Some(String::new()) });
    let codec = ProstCodec::<ListServices, Reflection>::default();
    let answers = nobody.streaming(Request::new(ask), path, codec).await.expect("a list of services");
    let answer = answers.into_inner().next().await.expect("a response").expect("a response");
    let names: Vec<_> = answer.services.unwrap_or_default().service.into_iter().map(|s| s.name).collect();
    for name in ["funless.registry.v1.Functions", "funless.scheduler.v1.Invocations"] {
        assert!(names.iter().any(|served| served == name), "{name} is not among {names:?}");
    }
}

#[derive(Clone, PartialEq, prost::Message)]
struct Health {
    #[prost(int32, tag = "1")]
    status: i32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ListServices {
    #[prost(string, optional, tag = "7")]
    list_services: Option<String>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Reflection {
    #[prost(message, tag = "6")]
    services: Option<Services>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Services {
    #[prost(message, repeated, tag = "1")]
    service: Vec<Named>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct Named {
    #[prost(string, tag = "1")]
    name: String,
}

async fn call(connection: &Connection, request: InvokeRequest) -> tonic::Result<InvokeResponse> {
    Ok(InvocationsClient::new(connection.clone()).invoke(request).await?.into_inner())
}

/// The reason of an error, which clients match on.
fn reason(status: &tonic::Status) -> String {
    let reason = mesh::Error::from(status).reason.as_str_name();
    reason.trim_start_matches("REASON_").to_owned()
}

/// The names of the modules in the initial snapshot of a watch.
async fn snapshot(watch: &mut Streaming<WatchResponse>) -> Vec<String> {
    let mut names = Vec::new();
    loop {
        let message = watch.next().await.expect("a snapshot").expect("a snapshot");
        let Some(Body::Snapshot(part)) = message.body else { panic!("a change before the snapshot") };
        names.extend(part.modules.into_iter().map(|module| module.name));
        if part.complete {
            return names;
        }
    }
}

/// The changes in a message: `+` for created or changed, `-` for deleted.
fn changes(message: WatchResponse) -> Vec<String> {
    let Some(Body::Changes(set)) = message.body else { return Vec::new() };
    let changes = set.changes.into_iter().filter_map(|change| change.change);
    let words = changes.map(|change| match change {
        change::Change::ModulePut(module) => format!("+{}", module.name),
        change::Change::ModuleDeleted(module) => format!("-{}", module.name),
        change::Change::FunctionPut(function) => format!("+{}/{}", function.module, function.name),
        change::Change::FunctionDeleted(function) => format!("-{}/{}", function.module, function.name),
        change::Change::ScriptPut(script) => format!("+script {}", script.name),
        change::Change::ScriptDeleted(script) => format!("-script {}", script.name),
    });
    words.collect()
}
