use mesh::testing::eventually;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use super::{WASM, detail};
use crate::support::http::{Body, send};
use crate::support::scheduler::Answer;
use crate::support::{ANN, Mesh, nowhere};

#[tokio::test]
async fn pages_without_a_token() {
    let mesh = Mesh::start().await;
    for path in ["/v1/", "/v1"] {
        let answer = send(mesh.anonymous("GET", path)).await;
        assert_eq!(answer.status, 200);
        assert!(answer.text.contains("up and running"), "{}", answer.text);
    }
    let answer = send(mesh.anonymous("GET", "/v1/openapi.json")).await;
    assert_eq!((answer.status, answer.json()["openapi"].as_str()), (200, Some("3.1.0")));
}

#[tokio::test]
async fn unknown_routes_and_methods_are_refused() {
    let mesh = Mesh::start().await;
    let cases = [
        ("GET", "/", 404),
        ("GET", "/v2/fn", 404),
        ("GET", "/v1/nope", 404),
        ("POST", "/v1/fn/a/b/c", 404),
        ("GET", "/v1/admin", 404),
        ("PATCH", "/v1/fn", 405),
        ("DELETE", "/v1/fn", 405),
        ("POST", "/v1/", 405),
        ("PUT", "/v1/scripts/app", 405),
        ("BREW", "/v1/fn/_/f", 405),
    ];
    for (method, path, status) in cases {
        let answer = send(mesh.anonymous(method, path)).await;
        let expected = if status == 404 { "Not Found" } else { "Method Not Allowed" };
        assert_eq!((answer.status, answer.published()), (status, detail(expected)), "{method} {path}");
        assert!(answer.header("x-request-id").is_some());
    }
}

#[tokio::test]
async fn a_bad_request_has_a_message_with_the_position() {
    let mesh = Mesh::start().await;
    let twice = &[("name", "f"), ("name", "g"), ("code", WASM)];
    let expected_module = r#"expected {"module": {"name": "..."}}"#;
    let cases = [
        ("/v1/fn/_/f", Body::Json(r#"{"args""#), "line 1 column 7: EOF while parsing an object"),
        ("/v1/fn/_/f", Body::Json("[]"), "line 1 column 0: invalid type: sequence, expected an object"),
        ("/v1/fn", Body::Json("{}"), expected_module),
        ("/v1/fn", Body::Json(r#"{"module": 1}"#), expected_module),
        ("/v1/fn/_", Body::Form(&[("name", "f")]), "expected the parts `name` and `code`"),
        ("/v1/fn/_", Body::Form(twice), "the part `name` is there twice"),
        (
            "/v1/fn/_",
            Body::Form(&[("events", "[{]")]),
            "part `events`: line 1 column 3: key must be a string",
        ),
        ("/v1/fn/_", Body::Form(&[("metadata", "tag")]), "part `metadata`: line 1 column 2: expected ident"),
        ("/v1/scripts/app", Body::Form(&[("name", "s")]), "expected the parts `name` and `file`"),
    ];
    for (path, body, message) in cases {
        let asked = format!("{path} {body:?}");
        let answer = mesh.ask("POST", path, body).await.json();
        let expected = json!({"detail": "Bad Request", "message": message, "reason": "BAD_REQUEST"});
        assert_eq!(answer["errors"], expected, "{asked}");
    }
}

#[tokio::test]
async fn missing_resources_are_named() {
    let mesh = Mesh::start().await;
    let cases = [
        ("/v1/scripts/app/s", "no script s", json!("SCRIPT_NOT_FOUND")),
        ("/v1/dead-letters/1", "no dead letter 1", json!("DEAD_LETTER_NOT_FOUND")),
        ("/v2", "no such path; /docs lists all", Value::Null),
    ];
    for (path, message, reason) in cases {
        let errors = mesh.ask("GET", path, Body::None).await.json()["errors"].clone();
        assert_eq!((&errors["message"], &errors["reason"]), (&json!(message), &reason), "{path}");
    }
    let anonymous_answer = send(mesh.anonymous("GET", "/v1/fn")).await.json();
    assert_eq!(anonymous_answer["errors"]["reason"], "UNAUTHENTICATED");
}

#[tokio::test]
async fn a_request_has_an_id() {
    let mesh = Mesh::start().await;
    let answer = send(mesh.request("GET", "/v1/fn").header("x-request-id", "mine")).await;
    assert_eq!(answer.header("x-request-id"), Some("mine"));
    let first = mesh.ask("GET", "/v1/fn", Body::None).await;
    let second = mesh.ask("GET", "/v1/fn", Body::None).await;
    assert!(first.header("x-request-id").is_some_and(|id| !id.is_empty()));
    assert_ne!(first.header("x-request-id"), second.header("x-request-id"));
}

#[tokio::test]
async fn overload_is_refused_at_once_except_for_pages() {
    let mesh = Mesh::start_with(|config| config.server.max_concurrent = 1).await;
    mesh.scheduler.answers(Answer::Hang);
    let call = tokio::spawn(mesh.request("POST", "/v1/fn/_/f").send());
    eventually("the invocation runs", async || mesh.scheduler.runs() == 1).await;

    let answer = mesh.ask("GET", "/v1/fn", Body::None).await;
    assert_eq!((answer.status, answer.header("retry-after")), (429, Some("1")));
    assert_eq!(answer.published(), detail("Too Many Requests: too many requests run at once"));
    assert_eq!(send(mesh.anonymous("GET", "/v1/fn")).await.status, 401, "tokens are checked before");
    for path in ["/v1/", "/v1/openapi.json", "/docs"] {
        assert_eq!(send(mesh.anonymous("GET", path)).await.status, 200, "{path}");
    }

    call.abort();
    eventually("a permit is free again", async || mesh.ask("GET", "/v1/fn", Body::None).await.status == 200)
        .await;
}

#[tokio::test]
async fn a_client_that_is_still_sending_receives_an_early_answer() {
    let mesh = Mesh::start().await;
    let answer = send(mesh.anonymous("POST", "/v1/fn/_/f").body(vec![b' '; 4 << 20])).await;
    assert_eq!(answer.status, 401);
}

#[tokio::test]
async fn a_client_that_expects_100_continue_is_answered_before_it_sends() {
    let mesh = Mesh::start().await;
    let address = mesh.rest.endpoint.to_string();
    let address = address.strip_prefix("http://").expect("plain HTTP");
    let mut stream = tokio::net::TcpStream::connect(address).await.expect("connects");
    let request = "POST /v1/fn/_/f HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\nexpect: 100-continue\r\n\r\n";
    stream.write_all(request.as_bytes()).await.expect("sends");
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.expect("an answer");
    assert_eq!(&head, b"HTTP/1.1 401");
}

#[tokio::test]
async fn requests_are_measured_by_route() {
    let host = mesh::testing::host("gateway");
    let metrics = host.metrics.clone();
    let config = gateway_svc::Config { registry: nowhere(), ..gateway_svc::Config::default() };
    let service = gateway_svc::App::start(config, host).await.expect("starts");
    let served = mesh::testing::Served::start(service.router).await;
    for path in ["/v1/fn/a/b", "/v1/fn/c/d", "/x/y"] {
        let url = format!("{}{path}", served.endpoint);
        crate::support::http::client().get(url).bearer_auth(ANN).send().await.expect("an answer");
    }
    let page = prometheus::TextEncoder::new().encode_to_string(&metrics.gather()).expect("encodes");
    let count = |labels: &str| format!("funless_http_request_duration_seconds_count{{{labels}}}");
    let known = count(r#"method="GET",route="/v1/fn/{module}/{function}",status="503""#);
    let unknown = count(r#"method="GET",route="unknown",status="404""#);
    assert!(page.contains(&format!("{known} 2")), "{page}");
    assert!(page.contains(&format!("{unknown} 1")), "{page}");
}

#[tokio::test]
async fn ready_once_the_registry_is_and_while_the_scheduler_is() {
    let mesh = Mesh::start_with(|config| config.registry = nowhere()).await;
    let _serving = mesh.service.readiness.serving();
    let missing = || mesh.service.readiness.missing();
    eventually("only the registry is missing", async || missing() == ["reaches the registry"]).await;
    let mesh = Mesh::start_with(|config| config.scheduler = nowhere()).await;
    let _serving = mesh.service.readiness.serving();
    let missing = || mesh.service.readiness.missing();
    eventually("only the scheduler is missing", async || missing() == ["reaches the scheduler"]).await;
}
