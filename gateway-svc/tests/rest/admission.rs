//! What clients without a valid token can do: little, and not to the cost of others.

use std::time::Duration;

use axum::body::Body;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::join_all;
use http::{Request, Version};
use mesh::testing::eventually;
use mesh::{Error, Reason};
use proto::registry::v1::ListModulesRequest;
use proto::registry::v1::modules_client::ModulesClient;
use proto::scheduler::v1::InvokeRequest;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::Instant;
use tower::ServiceExt as _;

use crate::support::http::Body as Sent;
use crate::support::scheduler::Answer;
use crate::support::{ANN, Mesh, ROOT};

/// Sends a request without a valid token, and one byte of its body every 20 ms. Returns the response.
async fn drip(address: &str) -> String {
    let (mut read, mut write) = TcpStream::connect(address).await.expect("connects").into_split();
    let head =
        "POST /v1/fn/_/f HTTP/1.1\r\nhost: x\r\nauthorization: Bearer no\r\ncontent-length: 9999\r\n\r\n";
    let dripping = async {
        let mut sent = write.write_all(head.as_bytes()).await;
        while sent.is_ok() {
            tokio::time::sleep(Duration::from_millis(20)).await;
            sent = write.write_all(b" ").await;
        }
        std::future::pending().await
    };
    let mut response = Vec::new();
    tokio::select! {
        never = dripping => never,
        received = read.read_to_end(&mut response) => received.expect("the whole response"),
    };
    String::from_utf8(response).expect("text")
}

#[tokio::test]
async fn bodies_that_drip_without_a_token_take_no_permits() {
    let mesh = Mesh::start_with(|config| config.server.max_concurrent = 2).await;
    let address = mesh.rest.endpoint.to_string();
    let address = address.strip_prefix("http://").expect("plain HTTP");
    let began = Instant::now();
    let dripping = join_all((0..50).map(|_| drip(address)));
    let using = async {
        for _ in 0..20 {
            assert_eq!(mesh.ask("POST", "/v1/fn/_/f", Sent::Json("{}")).await.status, 200);
        }
    };
    let (responses, ()) = tokio::join!(dripping, using);
    for response in responses {
        assert!(response.starts_with("HTTP/1.1 401"), "{response}");
        assert!(response.contains("connection: close"), "{response}");
    }
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
}

/// A body of one byte a second, without an end.
fn dripping() -> Body {
    let drip = |()| async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        Some((Ok::<_, std::convert::Infallible>(Bytes::from_static(b" ")), ()))
    };
    Body::from_stream(futures::stream::unfold((), drip).boxed())
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_cut_off() {
    let mesh = Mesh::start_in_one_process().await;
    for (method, path, content_type) in [
        ("POST", "/v1/fn/_/f", "application/json"),
        ("POST", "/v1/fn", "application/json"),
        ("POST", "/v1/fn/_", "multipart/form-data; boundary=x"),
    ] {
        let request = Request::builder().method(method).uri(path).header("content-type", content_type);
        let request = request.header("authorization", format!("Bearer {ANN}")).body(dripping());
        let began = Instant::now();
        let response =
            mesh.service.router.clone().oneshot(request.expect("a request")).await.expect("answers");
        assert_eq!(response.status(), 408, "{method} {path}");
        let lasted = began.elapsed().as_secs();
        assert!((10..=11).contains(&lasted), "{method} {path}: {lasted} s");
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_that_drips_is_cut_off_at_the_grpc_port() {
    let mesh = Mesh::start_in_one_process().await;
    let edge = mesh.service.more[0].1.clone();
    for (path, code) in [
        ("/funless.registry.v1.Functions/CreateFunction", "4"),
        ("/funless.scheduler.v1.Invocations/Invoke", "4"),
    ] {
        // The prefix of a message of 32 bytes.
        let prefix = futures::stream::iter([Ok(Bytes::from_static(&[0, 0, 0, 0, 32]))]);
        let body = Body::from_stream(prefix.chain(dripping().into_data_stream()));
        let request = Request::post(path).version(Version::HTTP_2).header("content-type", "application/grpc");
        let request = request.header("authorization", format!("Bearer {ANN}")).body(body).expect("a request");
        let response = edge.clone().oneshot(request).await.expect("answers");
        let status = response.headers().get("grpc-status").and_then(|code| code.to_str().ok());
        assert_eq!(status, Some(code), "{path}: {:?}", response.headers());
    }
}

#[tokio::test]
async fn calls_without_a_token_are_refused_before_they_take_a_permit() {
    let mesh = Mesh::start_with(|config| config.server.max_concurrent = 1).await;
    mesh.scheduler.answers(Answer::Hang);
    let with = |token: &str| {
        let mut request = tonic::Request::new(InvokeRequest::default());
        let token = format!("Bearer {token}").parse().expect("a header");
        request.metadata_mut().insert("authorization", token);
        request
    };
    let client = InvocationsClient::new(mesh.edge.channel());
    let (mut running, request) = (client.clone(), with(ANN));
    let running = tokio::spawn(async move { running.invoke(request).await });
    eventually("the invocation runs", async || mesh.scheduler.runs() == 1).await;
    for (token, reason) in [(ANN, Reason::Overloaded), ("no", Reason::Unauthenticated)] {
        let refused = client.clone().invoke(with(token)).await.expect_err("refused");
        assert_eq!(Error::from(refused).reason, reason, "{token}");
    }
    running.abort();
}

#[tokio::test]
async fn unknown_tokens_delay_their_address_but_no_known_token() {
    let mesh = Mesh::start_with(|config| {
        config.max_unknown_tokens = 3;
        config.token_cache_s = 0;
    })
    .await;
    assert_eq!(mesh.ask("GET", "/v1/fn", Sent::None).await.status, 200);
    let lookups = || mesh.registry.state.lock().authenticated;
    for guess in 0..4 {
        // Each is counted once, however often it is presented.
        for _ in 0..(if guess == 0 { 20 } else { 1 }) {
            let token = format!("guess-{guess}");
            assert_eq!(mesh.ask_as(&token, "GET", "/v1/fn", Sent::None).await.status, 401, "{guess}");
        }
    }
    let before = lookups();
    for guess in ["guess-5", "guess-0", ROOT] {
        let answer = mesh.ask_as(guess, "GET", "/v1/fn", Sent::None).await;
        assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")), "{guess}");
        assert_eq!(answer.json()["errors"]["reason"], "OVERLOADED");
    }
    let mut request = tonic::Request::new(ListModulesRequest {});
    request.metadata_mut().insert("authorization", "Bearer guess-6".parse().expect("a header"));
    let refused = ModulesClient::new(mesh.edge.channel()).list_modules(request).await.expect_err("refused");
    let refused = Error::from(refused);
    assert_eq!(refused.reason, Reason::Overloaded, "the ports share the delay: {refused}");
    assert_eq!(lookups(), before, "the registry is not asked");
    assert_eq!(mesh.metric(r#"funless_gateway_token_checks_total{outcome="throttled"}"#), 4.0);
    assert_eq!(mesh.metric("funless_gateway_throttled_addresses"), 1.0);

    assert_eq!(mesh.ask("GET", "/v1/fn", Sent::None).await.status, 200, "a known token");
    assert_eq!(lookups(), before + 1, "it is verified as usual");
    let is_admin = async || mesh.ask_as(ROOT, "GET", "/v1/fn", Sent::None).await.status == 200;
    eventually("the delay is over", is_admin).await;
}
