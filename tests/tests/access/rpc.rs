//! Calls to the gRPC port.

use std::collections::BTreeSet;
use std::fmt::Debug;

use prost::Message as _;
use proto::connector::v1::ListEventLedgersRequest;
use proto::connector::v1::dead_letters_client::DeadLettersClient as EventLetters;
use proto::connector::v1::events_client::EventsClient;
use proto::deadletter::v1::{
    DeadLetterFilter, DeadLetterSelection, GetDeadLetterRequest, ListDeadLettersRequest,
    PurgeDeadLettersRequest, RedriveDeadLettersRequest,
};
use proto::log::v1::TailLogsRequest;
use proto::registry::v1::code_store_client::CodeStoreClient;
use proto::registry::v1::functions_client::FunctionsClient;
use proto::registry::v1::modules_client::ModulesClient;
use proto::registry::v1::scripts_client::ScriptsClient;
use proto::registry::v1::subjects_client::SubjectsClient;
use proto::registry::v1::update_function_request::Part;
use proto::registry::v1::watch_client::WatchClient;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::{
    CreateFunctionSpec, CreateModuleRequest, CreateScriptRequest, CreateSubjectRequest,
    DeleteFunctionRequest, DeleteModuleRequest, DeleteScriptRequest, DeleteSubjectRequest, FetchCodeRequest,
    GetFunctionRequest, GetModuleRequest, GetScriptRequest, ListFunctionsRequest, ListModulesRequest,
    ListScriptsRequest, ListSubjectsRequest, RenameModuleRequest, Script, UpdateFunctionRequest,
    UpdateFunctionSpec, WatchRequest,
};
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::explain_request::Decision;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::logs_client::LogsClient;
use proto::scheduler::v1::policies_client::PoliciesClient;
use proto::scheduler::v1::simulate_request::Policy;
use proto::scheduler::v1::{
    CheckScriptRequest, ExplainRequest, InvokeRequest, ListDecisionsRequest, ListWorkersRequest,
    SimulateRequest,
};
use proto::sink::v1::ListSinkLedgersRequest;
use proto::sink::v1::dead_letters_client::DeadLettersClient as ResultLetters;
use proto::sink::v1::sinks_client::SinksClient;
use tests::grpc::{Connection, connect, create_function};
use tests::{Mesh, guests};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::{Code, Request, Response, Streaming};
use tonic_prost::ProstCodec;

use crate::Outcome;
use crate::scene::{SCRIPT, Scene};
use crate::table::Row;

/// The methods of the protobufs that the port serves, such as `registry.v1.Modules/GetModule`.
pub async fn served(mesh: &Mesh) -> BTreeSet<String> {
    let set =
        prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let mut nobody = tonic::client::Grpc::new(connect(mesh, None).await);
    let mut served = BTreeSet::new();
    for file in set.file {
        for service in &file.service {
            for method in &service.method {
                let path = format!("/{}.{}/{}", file.package(), service.name(), method.name());
                nobody.ready().await.expect("connected");
                let codec = ProstCodec::<(), ()>::default();
                let path_and_query = PathAndQuery::try_from(&path).expect("a path");
                let refused =
                    nobody.unary(Request::new(()), path_and_query, codec).await.expect_err("no token");
                if refused.code() != Code::Unimplemented {
                    served.insert(path.trim_start_matches("/funless.").to_owned());
                }
            }
        }
    }
    served
}

/// Calls the method of a row.
pub async fn call(connection: &Connection, row: &Row, scene: &Scene) -> Outcome {
    let method = row.grpc.as_deref().expect("a method");
    let (service, name) = method.split_once('/').expect("SERVICE/METHOD");
    let connection = connection.clone();
    let outcome = match service {
        "registry.v1.Modules" => modules(ModulesClient::new(connection), name, scene).await,
        "registry.v1.Functions" => functions(connection, name, scene).await,
        "registry.v1.Scripts" => scripts(ScriptsClient::new(connection), name, scene).await,
        "registry.v1.Subjects" => subjects(SubjectsClient::new(connection), name, scene).await,
        "registry.v1.Watch" => watch(connection).await,
        "registry.v1.CodeStore" => {
            let fetched = CodeStoreClient::new(connection).fetch_code(FetchCodeRequest::default()).await;
            fetched.map(|_| String::new())
        }
        "scheduler.v1.Policies" => policies(PoliciesClient::new(connection), name, scene).await,
        "scheduler.v1.Invocations" => {
            let Scene { module, function, .. } = scene;
            let request = InvokeRequest {
                module: module.clone(),
                function: function.clone(),
                ..InvokeRequest::default()
            };
            text(InvocationsClient::new(connection).invoke(request).await)
        }
        "scheduler.v1.Logs" => logs(connection, scene).await,
        "scheduler.v1.Cluster" => {
            text(ClusterClient::new(connection).list_workers(ListWorkersRequest {}).await)
        }
        "connector.v1.Events" => {
            text(EventsClient::new(connection).list_event_ledgers(ListEventLedgersRequest::default()).await)
        }
        "sink.v1.Sinks" => {
            text(SinksClient::new(connection).list_sink_ledgers(ListSinkLedgersRequest::default()).await)
        }
        "connector.v1.DeadLetters" => event_letters(EventLetters::new(connection), name, scene).await,
        "sink.v1.DeadLetters" => result_letters(ResultLetters::new(connection), name, scene).await,
        other => panic!("a new service: {other}"),
    };
    outcome.map_err(|status| match status.code() {
        Code::Unimplemented => "UNIMPLEMENTED".to_owned(),
        _ => mesh::Error::from(&status).reason.as_str_name().trim_start_matches("REASON_").to_owned(),
    })
}

fn text<T: Debug>(response: tonic::Result<Response<T>>) -> tonic::Result<String> {
    Ok(format!("{:?}", response?.into_inner()))
}

async fn first<T: Debug>(stream: tonic::Result<Response<Streaming<T>>>) -> tonic::Result<String> {
    Ok(format!("{:?}", stream?.into_inner().message().await?))
}

async fn modules(
    mut client: ModulesClient<Connection>,
    method: &str,
    scene: &Scene,
) -> tonic::Result<String> {
    let name = scene.module.clone();
    match method {
        "CreateModule" => text(client.create_module(CreateModuleRequest { name }).await),
        "ListModules" => text(client.list_modules(ListModulesRequest {}).await),
        "GetModule" => text(client.get_module(GetModuleRequest { name }).await),
        "RenameModule" => {
            let new_name = format!("{}renamed", scene.marker);
            text(client.rename_module(RenameModuleRequest { name, new_name }).await)
        }
        "DeleteModule" => text(client.delete_module(DeleteModuleRequest { name }).await),
        other => panic!("a new method: {other}"),
    }
}

async fn functions(connection: Connection, method: &str, scene: &Scene) -> tonic::Result<String> {
    let (module, name) = (scene.module.clone(), scene.function.clone());
    let mut client = FunctionsClient::new(connection.clone());
    match method {
        "CreateFunction" => {
            let spec = CreateFunctionSpec { module, name, ..CreateFunctionSpec::default() };
            create_function(&connection, spec, &guests::responding(b"2"))
                .await
                .map(|created| format!("{created:?}"))
        }
        "ListFunctions" => text(
            client.list_functions(ListFunctionsRequest { module, ..ListFunctionsRequest::default() }).await,
        ),
        "GetFunction" => text(client.get_function(GetFunctionRequest { module, name }).await),
        "UpdateFunction" => {
            let spec = UpdateFunctionSpec { module, name, ..UpdateFunctionSpec::default() };
            let request = UpdateFunctionRequest { part: Some(Part::Spec(spec)) };
            text(client.update_function(futures::stream::iter([request])).await)
        }
        "DeleteFunction" => text(client.delete_function(DeleteFunctionRequest { module, name }).await),
        other => panic!("a new method: {other}"),
    }
}

async fn scripts(
    mut client: ScriptsClient<Connection>,
    method: &str,
    scene: &Scene,
) -> tonic::Result<String> {
    let name = scene.script.clone();
    match method {
        "CreateScript" => {
            let script = Some(Script { name, content: SCRIPT.into(), ..Script::default() });
            text(client.create_script(CreateScriptRequest { script }).await)
        }
        "ListScripts" => text(client.list_scripts(ListScriptsRequest::default()).await),
        "GetScript" => text(client.get_script(GetScriptRequest { name }).await),
        "DeleteScript" => text(client.delete_script(DeleteScriptRequest { name, force: true }).await),
        other => panic!("a new method: {other}"),
    }
}

async fn subjects(
    mut client: SubjectsClient<Connection>,
    method: &str,
    scene: &Scene,
) -> tonic::Result<String> {
    let name = scene.subject.clone();
    match method {
        "CreateSubject" => text(
            client.create_subject(CreateSubjectRequest { name, ..CreateSubjectRequest::default() }).await,
        ),
        "ListSubjects" => text(client.list_subjects(ListSubjectsRequest {}).await),
        "DeleteSubject" => text(client.delete_subject(DeleteSubjectRequest { name }).await),
        other => panic!("a new method: {other}"),
    }
}

/// The whole snapshot.
async fn watch(connection: Connection) -> tonic::Result<String> {
    let mut watch = WatchClient::new(connection).watch(WatchRequest::default()).await?.into_inner();
    let mut snapshot = String::new();
    while let Some(message) = watch.message().await? {
        snapshot.push_str(&format!("{message:?}"));
        if matches!(message.body, Some(Body::Snapshot(part)) if part.complete) {
            break;
        }
    }
    Ok(snapshot)
}

async fn logs(connection: Connection, scene: &Scene) -> tonic::Result<String> {
    let Scene { module, function, .. } = scene;
    let request =
        TailLogsRequest { module: module.clone(), function: function.clone(), ..TailLogsRequest::default() };
    first(LogsClient::new(connection).tail_logs(request).await).await
}

async fn policies(
    mut client: PoliciesClient<Connection>,
    method: &str,
    scene: &Scene,
) -> tonic::Result<String> {
    match method {
        "CheckScript" => text(client.check_script(CheckScriptRequest { content: SCRIPT.into() }).await),
        "Explain" => {
            let decision = Some(Decision::DecisionId(scene.decision.clone()));
            text(client.explain(ExplainRequest { decision }).await)
        }
        "ListDecisions" => text(client.list_decisions(ListDecisionsRequest::default()).await),
        "Simulate" => {
            let policy = Some(Policy::Script(scene.script.clone()));
            text(
                client
                    .simulate(SimulateRequest {
                        policy,
                        min_revision: scene.revision,
                        ..SimulateRequest::default()
                    })
                    .await,
            )
        }
        other => panic!("a new method: {other}"),
    }
}

fn selection(scene: &Scene) -> Option<DeadLetterSelection> {
    Some(DeadLetterSelection { ids: vec![scene.letter.clone()], ..DeadLetterSelection::default() })
}

/// Calls a method of one of the two services for dead letters, whose clients have no common trait.
macro_rules! letters {
    ($client:ident, $method:ident, $scene:ident) => {
        match $method {
            "ListDeadLetters" => {
                let Scene { module, function, .. } = $scene;
                let filter = DeadLetterFilter {
                    module: module.clone(),
                    function: function.clone(),
                    ..Default::default()
                };
                let request = ListDeadLettersRequest { filter: Some(filter), ..Default::default() };
                text($client.list_dead_letters(request).await)
            }
            "GetDeadLetter" => {
                text($client.get_dead_letter(GetDeadLetterRequest { id: $scene.letter.clone() }).await)
            }
            "RedriveDeadLetters" => {
                let selection = selection($scene);
                text($client.redrive_dead_letters(RedriveDeadLettersRequest { selection }).await)
            }
            "PurgeDeadLetters" => {
                let selection = selection($scene);
                text($client.purge_dead_letters(PurgeDeadLettersRequest { selection }).await)
            }
            other => panic!("a new method: {other}"),
        }
    };
}

async fn event_letters(
    mut client: EventLetters<Connection>,
    method: &str,
    scene: &Scene,
) -> tonic::Result<String> {
    letters!(client, method, scene)
}

async fn result_letters(
    mut client: ResultLetters<Connection>,
    method: &str,
    scene: &Scene,
) -> tonic::Result<String> {
    letters!(client, method, scene)
}
