use mesh::{Error, Reason};
use serde_json::{Value, json};

use crate::support::Mesh;
use crate::support::http::Body;
use crate::support::scheduler::Answer;

async fn listed(mesh: &Mesh, query: &str) -> Vec<Value> {
    let answer = mesh.ask("GET", &format!("/v1/invocations{query}"), Body::None).await;
    assert_eq!(answer.status, 200, "{query}: {}", answer.text);
    answer.json()["data"]["invocations"].as_array().expect("a list").clone()
}

#[tokio::test]
async fn each_outcome_is_listed_latest_first() {
    let mesh = Mesh::start().await;
    mesh.scheduler.answers(Answer::Result("1"));
    let answer = mesh.ask("POST", "/v1/fn/_/f", Body::None).await;
    let id = answer.header("x-funless-invocation").expect("an id").to_owned();
    mesh.scheduler.answers(Answer::FunctionError("why"));
    mesh.ask("POST", "/v1/fn/_/g", Body::None).await;
    mesh.scheduler.answers(Answer::Error(Error::new(Reason::GuestTrapped, "unreachable")));
    mesh.ask("POST", "/v1/fn/m/g", Body::None).await;

    let all = listed(&mesh, "").await;
    let shown: Vec<_> =
        all.iter().map(|one| (&one["function"], &one["outcome"], &one["reason"], &one["message"])).collect();
    let expected = [
        (&json!("g"), &json!("failed"), &json!("GUEST_TRAPPED"), &json!("unreachable")),
        (&json!("g"), &json!("function_error"), &Value::Null, &json!("why")),
        (&json!("f"), &json!("ok"), &Value::Null, &Value::Null),
    ];
    assert_eq!(shown, expected);
    assert_eq!((&all[2]["id"], &all[2]["subject"]), (&json!(id), &json!("ann")));
    for (query, count) in [
        (format!("?id={id}"), 1),
        ("?function=g".into(), 2),
        ("?module=m&function=g".into(), 1),
        ("?outcome=ok".into(), 1),
        ("?worker=none".into(), 0),
        ("?limit=2".into(), 2),
        ("?limit=0".into(), 0),
    ] {
        assert_eq!(listed(&mesh, &query).await.len(), count, "{query}");
    }
    let minutes =
        mesh.ask("GET", "/v1/invocations?limit=0", Body::None).await.json()["data"]["minutes"].take();
    let count = |name: &str| -> u64 {
        minutes.as_array().expect("a list").iter().filter_map(|minute| minute[name].as_u64()).sum()
    };
    assert_eq!((count("count"), count("errors")), (3, 2), "{minutes}");
}
