//! The protocol at the gRPC port: reflection and malformed requests.

use std::collections::BTreeSet;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use mesh::{Error, Reason};
use prost::Message as _;
use proto::scheduler::v1::InvokeRequest;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use tonic::body::Body;
use tonic::{Code, Status};

use super::with_token;
use crate::support::{ANN, Mesh};

const INVOKE: &str = "/funless.scheduler.v1.Invocations/Invoke";
const CREATE_SCRIPT: &str = "/funless.registry.v1.Scripts/CreateScript";
const CREATE_MODULE: &str = "/funless.registry.v1.Modules/CreateModule";
const CREATE_FUNCTION: &str = "/funless.registry.v1.Functions/CreateFunction";
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// A message with its gRPC frame header.
fn framed(message: &[u8]) -> Vec<u8> {
    [&[0], &u32::try_from(message.len()).expect("short").to_be_bytes()[..], message].concat()
}

/// The problem of a request, its headers, its body, and the reason of the refusal.
type Case<'a> = (&'a str, &'a [(&'a str, &'a str)], &'a [u8], Reason);

/// The status of a call with this body.
async fn call(mesh: &Mesh, path: &str, headers: &[(&str, &str)], body: Vec<u8>) -> Status {
    let request = http::Request::post(path).header("content-type", "application/grpc");
    let request = request.header("authorization", format!("Bearer {ANN}"));
    let request = headers.iter().fold(request, |request, (name, value)| request.header(*name, *value));
    let request = request.body(Body::new(Full::new(Bytes::from(body)))).expect("a request");
    // A call whose deadline has passed may end in the client.
    let response = match tower::Service::call(&mut mesh.edge.channel(), request).await {
        Ok(response) => response,
        Err(status) => return status,
    };
    if let Some(status) = Status::from_header_map(response.headers()) {
        return status;
    }
    let body = response.into_body().collect().await.expect("a complete body");
    body.trailers().and_then(Status::from_header_map).expect("a status")
}

/// Checks the code and the reason of a refusal.
fn assert_refused(status: &Status, reason: Reason, what: &str) {
    assert_eq!(status.code(), mesh::error::code(reason), "{what}: {status:?}");
    assert!(!status.details().is_empty(), "{what}: no ErrorInfo in {status:?}");
    assert_eq!(Error::from(status).reason, reason, "{what}: {status:?}");
}

/// Lists the services and looks up these symbols with one version of reflection.
macro_rules! reflect {
    ($mesh:expr, $version:ident, $symbols:expr) => {{
        use tonic_reflection::pb::$version::ServerReflectionRequest;
        use tonic_reflection::pb::$version::server_reflection_client::ServerReflectionClient;
        use tonic_reflection::pb::$version::server_reflection_request::MessageRequest;
        use tonic_reflection::pb::$version::server_reflection_response::MessageResponse;

        let ask = async |asked| {
            let request = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
            let mut client = ServerReflectionClient::new($mesh.edge.channel());
            let answers = client.server_reflection_info(futures::stream::iter([request])).await;
            let answer = answers.expect("answers without a token").into_inner().message().await;
            answer.map(|answer| answer.and_then(|answer| answer.message_response).expect("an answer"))
        };
        let services = match ask(MessageRequest::ListServices(String::new())).await {
            Ok(MessageResponse::ListServicesResponse(list)) => {
                list.service.into_iter().map(|service| service.name).collect::<BTreeSet<_>>()
            }
            other => panic!("{other:?}"),
        };
        let mut found = Vec::new();
        for symbol in $symbols {
            found.push(match ask(MessageRequest::FileContainingSymbol(symbol.into())).await {
                Ok(MessageResponse::FileDescriptorResponse(_)) => true,
                Err(status) if status.code() == Code::NotFound => false,
                other => panic!("{other:?}"),
            });
        }
        (services, found)
    }};
}

#[tokio::test]
async fn both_versions_of_reflection_show_the_open_methods() {
    let mesh = Mesh::start().await;
    let expected: BTreeSet<String> = [
        "funless.connector.v1.DeadLetters",
        "funless.connector.v1.Events",
        "funless.registry.v1.Functions",
        "funless.registry.v1.Modules",
        "funless.registry.v1.Scripts",
        "funless.registry.v1.Subjects",
        "funless.registry.v1.Watch",
        "funless.scheduler.v1.Cluster",
        "funless.scheduler.v1.Invocations",
        "funless.scheduler.v1.Logs",
        "funless.scheduler.v1.Policies",
        "funless.sink.v1.DeadLetters",
        "funless.sink.v1.Sinks",
        "grpc.health.v1.Health",
        "grpc.reflection.v1.ServerReflection",
        "grpc.reflection.v1alpha.ServerReflection",
    ]
    .map(str::to_owned)
    .into();
    let symbols = [
        ("funless.scheduler.v1.Invocations", true),
        ("funless.scheduler.v1.InvokeRequest", true),
        ("funless.receipt.v1.Receipt", true),
        ("funless.scheduler.v1.Cluster.ListWorkers", true),
        ("funless.scheduler.v1.Cluster.AwaitCode", false),
        ("funless.scheduler.v1.Membership", false),
        ("funless.registry.v1.Authentication", false),
        ("funless.worker.v1.Execution", false),
        ("funless.worker.v1.ExecuteRequest", false),
        ("grpc.health.v1.Health.Watch", false),
    ];
    let asked = symbols.map(|(symbol, _)| symbol);
    let shown = symbols.map(|(_, shown)| shown).to_vec();
    assert_eq!(reflect!(mesh, v1, asked), (expected.clone(), shown.clone()));
    assert_eq!(reflect!(mesh, v1alpha, asked), (expected, shown));
}

#[tokio::test]
async fn unknown_methods_are_unimplemented() {
    let mesh = Mesh::start().await;
    let paths =
        ["/x", "/no.such.Service/Do", "/funless.registry.v1.Modules/Nope", "/grpc.health.v1.Health/Nope"];
    for path in paths {
        assert_refused(&call(&mesh, path, &[], framed(b"")).await, Reason::Unimplemented, path);
    }
}

#[tokio::test]
async fn malformed_requests_are_refused_with_a_reason() {
    // A length of 255 in a message of two bytes.
    let garbage = framed(&[0x0a, 0xff]);
    let (five_mib, huge) = (vec![0, 0, 0x50, 0, 0], vec![0, 0x7f, 0, 0, 0]);
    let started = InvokeRequest { module: "_".into(), function: "f".into(), ..InvokeRequest::default() };
    let second = [framed(&[]), garbage.clone()].concat();
    let gzip = [("grpc-encoding", "gzip")];
    for mesh in [Mesh::start().await, Mesh::start_in_one_process().await] {
        for path in [INVOKE, CREATE_SCRIPT, CREATE_MODULE, CREATE_FUNCTION, HEALTH] {
            let cases: [Case; 7] = [
                ("garbage", &[], &garbage, Reason::BadRequest),
                ("cut short", &[], &garbage[..6], Reason::BadRequest),
                ("no message", &[], &[], Reason::BadRequest),
                ("a bad flag", &[], &[7, 0, 0, 0, 0], Reason::BadRequest),
                ("too large", &[], &huge, Reason::TooLarge),
                ("compressed", &gzip, &framed(&started.encode_to_vec()), Reason::Unimplemented),
                ("malformed", &[("grpc-timeout", "soon")], &garbage, Reason::BadRequest),
            ];
            for (what, headers, body, reason) in cases {
                let status = call(&mesh, path, headers, body.to_vec()).await;
                assert_refused(&status, reason, &format!("{path}: {what}"));
            }
        }
        assert_refused(&call(&mesh, CREATE_MODULE, &[], five_mib.clone()).await, Reason::TooLarge, "5 MiB");
        let status = call(&mesh, CREATE_FUNCTION, &[], second.clone()).await;
        assert_refused(&status, Reason::BadRequest, "the second message of a stream");
        assert!(mesh.scheduler.state.lock().request.is_none(), "no invocation has started");
    }
}

#[tokio::test]
async fn expired_and_malformed_timeouts_are_refused() {
    for mesh in [Mesh::start().await, Mesh::start_in_one_process().await] {
        for timeout in ["1n", "999n", "0n", "0m", "0S", "00000000H"] {
            let headers = [("grpc-timeout", timeout)];
            let status = call(&mesh, INVOKE, &headers, framed(&[])).await;
            assert_refused(&status, Reason::DeadlineExceeded, timeout);
        }
        for timeout in ["", "1", "m", "1x", "-1S", "+1S", "1.5S", "123456789n", "1 S", "1 s"] {
            let status = call(&mesh, INVOKE, &[("grpc-timeout", timeout)], framed(&[])).await;
            assert_refused(&status, Reason::BadRequest, timeout);
            assert!(status.message().contains(timeout), "{status:?}");
        }
        assert!(mesh.scheduler.state.lock().request.is_none(), "no invocation has started");
        assert_eq!(call(&mesh, INVOKE, &[("grpc-timeout", "30S")], framed(&[])).await.code(), Code::Ok);
    }
}

#[tokio::test]
async fn arguments_must_be_json() {
    for mesh in [Mesh::start().await, Mesh::start_in_one_process().await] {
        let mut invocations = InvocationsClient::new(mesh.edge.channel());
        let mut invoke = async |args: &'static [u8]| {
            let request = InvokeRequest { args: args.into(), module: "_".into(), ..InvokeRequest::default() };
            invocations.invoke(with_token(ANN, request)).await
        };
        let cases: [(&[u8], &str); 4] = [
            (b"nope", "args is not valid JSON: line 1 column 2: expected ident"),
            (b"{\n\"a\": 1,}", "args is not valid JSON: line 2 column 8: key must be a string"),
            (b"{} {}", "args is not valid JSON: line 1 column 4: trailing characters"),
            (b"\"\xff\"", "args is not valid JSON: it is not UTF-8: byte 1 is not a character"),
        ];
        for (args, message) in cases {
            let status = invoke(args).await.expect_err("refused");
            assert_refused(&status, Reason::BadRequest, message);
            assert_eq!(status.message(), message);
        }
        assert!(mesh.scheduler.state.lock().request.is_none(), "no invocation has started");
        for args in [&b""[..], b" [1.50, {}] ", b"null"] {
            invoke(args).await.expect("echoed");
            let arrived = mesh.scheduler.last_request();
            assert_eq!((arrived.args, arrived.module.as_str()), (Bytes::from_static(args), "_"));
        }
    }
}

#[tokio::test]
async fn arguments_are_not_parsed_without_a_token() {
    let mesh = Mesh::start().await;
    let request = InvokeRequest { args: "nope".into(), ..InvokeRequest::default() };
    let status = InvocationsClient::new(mesh.edge.channel()).invoke(request).await.expect_err("no token");
    assert_refused(&status, Reason::Unauthenticated, "no token");
}
