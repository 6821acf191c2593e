//! The gRPC port for clients.

mod protocol;
mod scripts;

use std::sync::Arc;
use std::time::Duration;

use mesh::channel::Channel;
use mesh::testing::eventually;
use mesh::{Caller, Error, Reason};
use prost::Message as _;
use proto::connector::v1::dead_letters_client::DeadLettersClient as EventDeadLettersClient;
use proto::connector::v1::events_client::EventsClient;
use proto::connector::v1::{CheckEventsRequest, EventCounts, GetEventStatusRequest, ListEventLedgersRequest};
use proto::deadletter::v1::{GetDeadLetterRequest, ListDeadLettersRequest};
use proto::registry::v1::authentication_client::AuthenticationClient;
use proto::registry::v1::code_store_client::CodeStoreClient;
use proto::registry::v1::functions_client::FunctionsClient;
use proto::registry::v1::modules_client::ModulesClient;
use proto::registry::v1::subjects_client::SubjectsClient;
use proto::registry::v1::watch_client::WatchClient;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::*;
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::{AwaitCodeRequest, InvokeRequest, ListWorkersRequest};
use proto::sink::v1::dead_letters_client::DeadLettersClient as SinkDeadLettersClient;
use tonic::{Code, Request, Status};

use crate::support::scheduler::Answer;
use crate::support::{ANN, Mesh, ROOT, nowhere};

/// A call with a token.
fn with_token<T>(token: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    let value = format!("Bearer {token}").parse().expect("a header");
    request.metadata_mut().insert("authorization", value);
    request
}

fn reason<T: std::fmt::Debug>(outcome: Result<T, Status>) -> Reason {
    Error::from(outcome.expect_err("refused")).reason
}

fn modules(mesh: &Mesh) -> ModulesClient<Channel> {
    ModulesClient::new(mesh.edge.channel())
}

#[tokio::test]
async fn a_token_is_required_and_identifies_the_caller() {
    let mesh = Mesh::start().await;
    let list = ListModulesRequest {};
    assert_eq!(reason(modules(&mesh).list_modules(list).await), Reason::Unauthenticated);
    assert_eq!(reason(modules(&mesh).list_modules(with_token("bad", list)).await), Reason::Unauthenticated);
    for (token, caller) in [(ANN, Caller::Subject("ann".into())), (ROOT, Caller::Admin("root".into()))] {
        modules(&mesh).list_modules(with_token(token, list)).await.expect("a valid token");
        assert_eq!(mesh.registry.state.lock().caller, Some(caller));
    }
}

#[tokio::test]
async fn forged_headers_are_replaced() {
    let mesh = Mesh::start().await;
    let forge = |headers: &[(&'static str, &'static str)]| {
        let mut request = with_token(ANN, ListModulesRequest {});
        for (name, value) in headers {
            request.metadata_mut().insert(*name, value.parse().expect("a header"));
        }
        request
    };
    let forgeries: [&[(&str, &str)]; 3] = [
        &[("x-funless-role", "ROLE_ADMIN")],
        &[("x-funless-role", "ROLE_ADMIN"), ("x-funless-subject", "root")],
        &[("x-funless-secret", "guess"), ("x-funless-anything", "1")],
    ];
    for forgery in forgeries {
        modules(&mesh).list_modules(forge(forgery)).await.expect("the call is made by ann");
        let caller = mesh.registry.state.lock().caller.take();
        assert_eq!(caller, Some(Caller::Subject("ann".into())), "{forgery:?}");
    }
}

#[tokio::test]
async fn only_methods_in_the_table_are_forwarded() {
    let mesh = Mesh::start().await;
    let channel = || mesh.edge.channel();
    let token = AuthenticateRequest { token: ANN.into() };
    let refused = [
        reason(AuthenticationClient::new(channel()).authenticate(with_token(ROOT, token)).await),
        reason(
            CodeStoreClient::new(channel()).fetch_code(with_token(ROOT, FetchCodeRequest::default())).await,
        ),
        reason(ClusterClient::new(channel()).await_code(with_token(ROOT, AwaitCodeRequest::default())).await),
        reason(
            EventsClient::new(channel()).check_events(with_token(ROOT, CheckEventsRequest::default())).await,
        ),
        // The ids of other users' bindings would reveal their status.
        reason(
            EventsClient::new(channel())
                .get_event_status(with_token(ROOT, GetEventStatusRequest::default()))
                .await,
        ),
        reason(ClusterClient::new(channel()).list_workers(with_token(ANN, ListWorkersRequest {})).await),
        reason(SubjectsClient::new(channel()).list_subjects(with_token(ANN, ListSubjectsRequest {})).await),
    ];
    let (absent, denied) = (Reason::Unimplemented, Reason::PermissionDenied);
    assert_eq!(refused, [absent, absent, absent, absent, absent, denied, denied]);

    let workers = ClusterClient::new(channel()).list_workers(with_token(ROOT, ListWorkersRequest {})).await;
    assert_eq!(workers.expect("an administrator").into_inner().workers.len(), 1);
    let subjects =
        SubjectsClient::new(channel()).list_subjects(with_token(ROOT, ListSubjectsRequest {})).await;
    assert_eq!(subjects.expect("an administrator").into_inner().subjects.len(), 2);
}

#[tokio::test]
async fn every_method_of_the_services_is_either_open_or_closed() {
    let set =
        prost_types::FileDescriptorSet::decode(proto::FILE_DESCRIPTOR_SET).expect("our own descriptors");
    let mesh = Mesh::start().await;
    let (mut open, mut closed) = (0, 0);
    for file in set.file {
        for service in file.service {
            for method in &service.method {
                let path = format!(
                    "/{}.{}/{}",
                    file.package.clone().unwrap_or_default(),
                    service.name(),
                    method.name()
                );
                // Without a token, open methods are unauthenticated, and closed ones are unimplemented.
                let request = http::Request::post(&path).header("content-type", "application/grpc");
                let request = request.body(tonic::body::Body::empty()).expect("a request");
                let response =
                    tower::Service::call(&mut mesh.edge.channel(), request).await.expect("an answer");
                match Status::from_header_map(response.headers()).map(|status| status.code()) {
                    Some(Code::Unauthenticated) => open += 1,
                    Some(Code::Unimplemented) => closed += 1,
                    other => panic!("{path}: {other:?}"),
                }
            }
        }
    }
    // When the protobufs change, check the table in edge.rs and update these numbers.
    assert_eq!((open, closed), (35, 16));
}

#[tokio::test]
async fn health_needs_no_token() {
    use tonic_health::pb::HealthCheckRequest;
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::health_client::HealthClient;

    let mesh = Mesh::start().await;
    let _serving = mesh.service.readiness.serving();
    for service in ["", "funless.registry.v1.Modules", "funless.scheduler.v1.Invocations"] {
        eventually("the gateway serves", async || {
            let request = HealthCheckRequest { service: service.into() };
            let reply = HealthClient::new(mesh.edge.channel()).check(request).await.expect("an answer");
            reply.into_inner().status() == ServingStatus::Serving
        })
        .await;
    }
}

#[tokio::test]
async fn uploads_are_streamed() {
    let mesh = Mesh::start().await;
    let mut functions = FunctionsClient::new(mesh.edge.channel());
    let spec = CreateFunctionSpec { module: "_".into(), name: "f".into(), ..CreateFunctionSpec::default() };
    let upload = |spec: CreateFunctionSpec| {
        let spec = CreateFunctionRequest { part: Some(create_function_request::Part::Spec(spec)) };
        let chunk = |chunk: Vec<u8>| CreateFunctionRequest {
            part: Some(create_function_request::Part::Chunk(chunk.into())),
        };
        let chunks = std::iter::once(b"\0asm".to_vec()).chain(std::iter::repeat_n(vec![1; 256 << 10], 8));
        futures::stream::iter(std::iter::once(spec).chain(chunks.map(chunk)).collect::<Vec<_>>())
    };
    let created = functions.create_function(with_token(ANN, upload(spec.clone()))).await.expect("created");
    assert_eq!(created.into_inner().function.and_then(|f| f.code).map(|code| code.size), Some((8 << 18) + 4));
    assert_eq!(
        reason(functions.create_function(with_token(ANN, upload(spec))).await),
        Reason::FunctionExists
    );
}

#[tokio::test]
async fn invocations_keep_their_deadline_and_end_with_their_caller() {
    let mesh = Mesh::start().await;
    let mut invocations = InvocationsClient::new(mesh.edge.channel());
    let invoke = || InvokeRequest {
        module: "_".into(),
        function: "f".into(),
        args: "7".into(),
        ..InvokeRequest::default()
    };
    let reply = invocations.invoke(with_token(ANN, invoke())).await.expect("echoed").into_inner();
    assert_eq!(reply.worker, "w1");
    let deadline = mesh.scheduler.state.lock().deadline.expect("the gateway's deadline");
    assert!(deadline > Duration::from_secs(100) && deadline <= Duration::from_secs(120), "{deadline:?}");

    mesh.scheduler.answers(Answer::Hang);
    let mut request = with_token(ANN, invoke());
    request.set_timeout(Duration::from_millis(300));
    assert_eq!(reason(invocations.invoke(request).await), Reason::DeadlineExceeded);
    let deadline = mesh.scheduler.state.lock().deadline.expect("the caller's deadline");
    assert!(deadline <= Duration::from_millis(300));
    eventually("the invocation has ended", async || mesh.scheduler.runs() == 0).await;

    let mut client = invocations.clone();
    let request = with_token(ANN, invoke());
    let call = tokio::spawn(async move { client.invoke(request).await });
    eventually("the invocation runs", async || mesh.scheduler.runs() == 1).await;
    call.abort();
    eventually("the invocation has ended", async || mesh.scheduler.runs() == 0).await;
}

#[tokio::test]
async fn a_failed_invocation_has_its_decision_id() {
    for mesh in [Mesh::start().await, Mesh::start_in_one_process().await] {
        mesh.scheduler.state.lock().decision = Some("a-1");
        let mut invocations = InvocationsClient::new(mesh.edge.channel());
        let reply = invocations.invoke(with_token(ANN, InvokeRequest::default())).await.expect("echoed");
        assert_eq!(reply.into_inner().decision_id, "a-1");
        mesh.scheduler.answers(Answer::Error(Error::new(Reason::NoValidWorkers, "no_valid_workers")));
        // The header in the response is the scheduler's, not the client's.
        let mut request = with_token(ANN, InvokeRequest::default());
        request.metadata_mut().insert(mesh::DECISION_HEADER, "forged".parse().expect("a header"));
        let refused = invocations.invoke(request).await.expect_err("refused");
        let decision = refused.metadata().get(mesh::DECISION_HEADER).and_then(|id| id.to_str().ok());
        assert_eq!((decision, Error::from(&refused).reason), (Some("a-1"), Reason::NoValidWorkers));
    }
}

#[tokio::test]
async fn a_watch_is_forwarded_until_the_gateway_drains() {
    let mesh = Mesh::start().await;
    let mut watch = WatchClient::new(mesh.edge.channel());
    let mut updates =
        watch.watch(with_token(ANN, WatchRequest::default())).await.expect("watching").into_inner();
    let first = updates.message().await.expect("open").expect("a snapshot");
    assert!(matches!(first.body, Some(Body::Snapshot(Snapshot { complete: true, .. }))), "{first:?}");

    let module = CreateModuleRequest { name: "m".into() };
    modules(&mesh).create_module(with_token(ANN, module)).await.expect("created");
    let second = updates.message().await.expect("open").expect("a change");
    assert_eq!((second.revision, matches!(second.body, Some(Body::Changes(_)))), (1, true));

    let watches = Arc::clone(&mesh.registry.state.lock().watches);
    assert_eq!(Arc::strong_count(&watches), 3);
    mesh.draining.cancel();
    assert_eq!(reason(updates.message().await), Reason::Unavailable);
    eventually("the watch of the registry has ended", async || Arc::strong_count(&watches) == 2).await;
}

#[tokio::test]
async fn subscriptions_are_limited_by_user() {
    let mesh = Mesh::start().await;
    let mut client = WatchClient::new(mesh.edge.channel());
    let mut watches = Vec::new();
    let refused = loop {
        match client.watch(with_token(ANN, WatchRequest::default())).await {
            Ok(watch) => watches.push(watch.into_inner()),
            Err(refused) => break Error::from(&refused),
        }
        assert!(watches.len() < 100, "there is a limit");
    };
    assert_eq!(refused.message, "too many subscriptions of this user");
    assert_eq!((refused.reason, refused.retry_after), (Reason::Overloaded, Some(Duration::from_secs(5))));
    // Others are not affected, and one that ends makes room.
    client.watch(with_token(ROOT, WatchRequest::default())).await.expect("root's first");
    drop(watches.pop());
    eventually("there is room", async || {
        client.clone().watch(with_token(ANN, WatchRequest::default())).await.is_ok()
    })
    .await;
}

#[tokio::test]
async fn dead_letters_and_ledgers_are_limited_to_the_callers() {
    let mesh = Mesh::start().await;
    mesh.connector.known.lock().ledgers =
        vec![("m", "f", EventCounts::default()), ("root", "f", EventCounts::default())];
    mesh.connector.letters.put(1, BindingRole::Event, "ann", "1");
    mesh.sink.letters.put(2, BindingRole::Sink, "root", "2");
    let channel = || mesh.edge.channel();
    let mut events = EventDeadLettersClient::new(channel());
    let mut sinks = SinkDeadLettersClient::new(channel());
    let list = || ListDeadLettersRequest { page_size: 9, ..ListDeadLettersRequest::default() };
    for (token, of_events, of_sinks, ledgers) in [(ANN, 1, 0, 1), (ROOT, 1, 1, 2)] {
        let listed = events.list_dead_letters(with_token(token, list())).await.expect("listed").into_inner();
        assert_eq!(listed.letters.len(), of_events);
        let listed = sinks.list_dead_letters(with_token(token, list())).await.expect("listed").into_inner();
        assert_eq!(listed.letters.len(), of_sinks);
        let request = with_token(token, ListEventLedgersRequest::default());
        let listed = EventsClient::new(channel()).list_event_ledgers(request).await.expect("listed");
        assert_eq!(listed.into_inner().ledgers.len(), ledgers);
    }
    let request = GetDeadLetterRequest { id: crate::support::dead_letters::id(2) };
    let refused = sinks.get_dead_letter(with_token(ANN, request)).await;
    assert_eq!(reason(refused), Reason::DeadLetterNotFound);
}

#[tokio::test]
async fn without_the_registry_calls_are_unavailable() {
    let mesh = Mesh::start_with(|config| config.registry = nowhere()).await;
    let outcome = modules(&mesh).list_modules(with_token(ANN, ListModulesRequest {})).await;
    assert_eq!(reason(outcome), Reason::Unavailable);
}

#[tokio::test]
async fn one_process_forwards_without_sockets() {
    let mesh = Mesh::start_in_one_process().await;
    let mut watch = WatchClient::new(mesh.edge.channel());
    let mut updates =
        watch.watch(with_token(ROOT, WatchRequest::default())).await.expect("watching").into_inner();
    assert!(updates.message().await.expect("open").is_some());
    let outcome = modules(&mesh).get_module(with_token(ANN, GetModuleRequest { name: "nope".into() })).await;
    assert_eq!(reason(outcome), Reason::ModuleNotFound);
    assert_eq!(mesh.registry.state.lock().caller, Some(Caller::Subject("ann".into())));
}
