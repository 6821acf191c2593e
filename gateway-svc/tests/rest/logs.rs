use mesh::testing::eventually;
use mesh::{Caller, Error, Reason};
use proto::log::v1::{LogLine, TailLogsRequest, TailLogsResponse};
use serde_json::{Value, json};

use super::{data, detail};
use crate::support::http::{Body, send};
use crate::support::{ANN, Mesh};

const PATH: &str = "/v1/fn/m/f/logs";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";

fn line(text: &str) -> LogLine {
    LogLine {
        at_us: 1_700_000_000_123_456,
        text: text.into(),
        invocation_id: "i".into(),
        trace_id: TRACE.into(),
        worker: "w".into(),
        number: 0,
    }
}

fn shown(text: &str) -> Value {
    let at = "2023-11-14T22:13:20.123456Z";
    json!({ "at": at, "text": text, "invocation": "i", "trace_id": TRACE, "worker": "w" })
}

fn lines(texts: &[&str]) -> TailLogsResponse {
    TailLogsResponse { lines: texts.iter().map(|text| line(text)).collect(), ..TailLogsResponse::default() }
}

#[tokio::test]
async fn kept_lines_are_returned() {
    let mesh = Mesh::start().await;
    let logs = &mesh.scheduler.logs;
    logs.state.lock().first = TailLogsResponse { unreachable: vec!["w2".into()], ..lines(&["a", "b"]) };
    let query = format!("{PATH}?lines=2&trace_id={}", TRACE.to_uppercase());
    let answer = mesh.ask("GET", &query, Body::None).await;
    let expected = json!({ "lines": [shown("a"), shown("b")], "missed": 0, "unreachable": ["w2"] });
    assert_eq!((answer.status, answer.published()), (200, data(expected)));
    let asked = TailLogsRequest {
        module: "m".into(),
        function: "f".into(),
        lines: 2,
        trace_id: TRACE.into(),
        ..TailLogsRequest::default()
    };
    assert_eq!(logs.state.lock().asked, Some((Caller::Subject("ann".into()), asked)));
}

#[tokio::test]
async fn invalid_requests_are_refused() {
    let mesh = Mesh::start().await;
    for query in ["lines=0", "lines=x", "trace_id=1", "follow=maybe", "since=1h"] {
        let answer = mesh.ask("GET", &format!("{PATH}?{query}"), Body::None).await;
        assert_eq!(answer.status, 400, "{query}");
    }
    let missing = Error::new(Reason::FunctionNotFound, "no function m/f");
    mesh.scheduler.logs.state.lock().failure = Some(missing);
    for query in ["", "?follow=true"] {
        let answer = mesh.ask("GET", &format!("{PATH}{query}"), Body::None).await;
        assert_eq!((answer.status, answer.published()), (404, detail("Not Found")), "{query}");
    }
    assert_eq!(send(mesh.anonymous("GET", PATH)).await.status, 401);
}

#[tokio::test]
async fn new_lines_are_streamed_until_the_gateway_drains() {
    let mesh = Mesh::start().await;
    let logs = &mesh.scheduler.logs;
    logs.state.lock().first = lines(&["a"]);
    let request = mesh.request("GET", &format!("{PATH}?follow=true"));
    let mut answer = request.send().await.expect("an answer");
    assert_eq!((answer.status().as_u16(), &answer.headers()["content-type"]), (200, &ndjson()));
    let first = answer.chunk().await.expect("no error").expect("a line");
    assert_eq!(serde_json::from_slice::<Value>(&first).expect("JSON"), shown("a"));
    logs.send(TailLogsResponse { missed: 3, ..lines(&["b"]) });
    let mut next = String::new();
    while next.lines().count() < 2 {
        next += std::str::from_utf8(&answer.chunk().await.expect("no error").expect("lines")).expect("text");
    }
    let next: Vec<Value> = next.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    assert_eq!(next, [json!({ "missed": 3 }), shown("b")]);
    mesh.draining.cancel();
    assert_eq!(answer.chunk().await.expect("a clean end of the stream"), None);
    eventually("the stream of the scheduler has ended", async || logs.followers() == 0).await;
}

fn ndjson() -> reqwest::header::HeaderValue {
    reqwest::header::HeaderValue::from_static("application/x-ndjson")
}

#[tokio::test]
async fn following_ends_when_the_token_is_revoked() {
    let mesh = Mesh::start_with(|config| config.token_cache_s = 0).await;
    let mut answer = mesh.request("GET", &format!("{PATH}?follow=true")).send().await.expect("an answer");
    mesh.registry.revoke(ANN);
    assert_eq!(answer.chunk().await.expect("a clean end of the stream"), None);
}
