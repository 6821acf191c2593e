use mesh::testing::eventually;
use serde_json::json;

use super::{WASM, data};
use crate::support::Mesh;
use crate::support::http::Body;
use crate::support::scheduler::Answer;

#[tokio::test]
async fn the_gateway_works_in_one_process() {
    let mesh = Mesh::start_in_one_process().await;
    let parts = &[
        ("name", "f"),
        ("code", WASM),
        ("sinks", r#"[{"type":"couchdb","params":{}}]"#),
        ("events", r#"[{"type":"mqtt","params":{}}]"#),
    ];
    assert_eq!(mesh.ask("POST", "/v1/fn/_", Body::Form(parts)).await.status, 201);
    let answer = mesh.ask("POST", "/v1/fn/_/f", Body::Json(r#"{"args":{"a":[1]}}"#)).await;
    assert_eq!((answer.status, answer.published()), (200, data(json!({"a": [1]}))));

    mesh.scheduler.answers(Answer::Hang);
    let call = tokio::spawn(mesh.request("POST", "/v1/fn/_/f").send());
    eventually("the invocation runs", async || mesh.scheduler.runs() == 1).await;
    call.abort();
    eventually("the invocation has ended", async || mesh.scheduler.runs() == 0).await;
}
