//! Explanations of placement decisions.

use mesh::Caller;
use proto::scheduler::v1::explain_request::Decision as Asked;
use proto::scheduler::v1::{
    Decision, ExplainedBlock, ExplainedItem, ExplainedWorker, Explanation, HypotheticalInvocation,
    Scheduling, TimedInvocation, Verdict, scheduling::Language,
};
use serde_json::{Value, json};

use super::{data, detail};
use crate::support::http::{Body, send};
use crate::support::{Mesh, nowhere};

const PATH: &str = "/v1/scripts/app/s/explain";

/// A past decision by `script`, with a worker for each verdict.
fn past(id: &str, script: &str) -> Explanation {
    let verdicts = [Verdict::Invalid, Verdict::Valid, Verdict::Chosen, Verdict::NotReached];
    let worker = |(verdict, name): (Verdict, &str)| ExplainedWorker {
        worker: name.into(),
        verdict: verdict.into(),
        reason: format!("for {name}"),
    };
    let workers = verdicts.into_iter().zip(["a", "b", "c", "d"]).map(worker).collect();
    let block = ExplainedBlock { number: 1, strategy: "random".into(), workers };
    let item = ExplainedItem { tag: "t".into(), blocks: vec![block], followup: "fail".into() };
    Explanation {
        decision_id: id.into(),
        at_ms: 1_700_000_000_000,
        module: "m".into(),
        function: "f".into(),
        tag: "t".into(),
        capacity_kb: 64,
        script: script.into(),
        items: vec![item],
        worker: "c".into(),
        refusal: String::new(),
        summary: "c: chosen".into(),
    }
}

fn shown(id: &str, script: &str) -> Value {
    let worker = |name: &str, verdict: &str| json!({"worker": name, "verdict": verdict, "reason": format!("for {name}")});
    let workers =
        [worker("a", "invalid"), worker("b", "valid"), worker("c", "chosen"), worker("d", "not_reached")];
    json!({
        "decision_id": id, "at_ms": 1_700_000_000_000_u64, "module": "m", "function": "f", "tag": "t",
        "capacity_kb": 64, "script": script,
        "items": [{
            "tag": "t", "followup": "fail",
            "blocks": [{"number": 1, "strategy": "random", "workers": workers}],
        }],
        "worker": "c", "refusal": "", "summary": "c: chosen",
    })
}

#[tokio::test]
async fn a_hypothetical_invocation_sees_the_writes_before_it() {
    let mesh = Mesh::start().await;
    mesh.ask("POST", "/v1/fn", Body::Json(r#"{"module":{"name":"m"}}"#)).await;
    let scheduling = Some(Scheduling { language: Some(Language::AppScript("s".into())) });
    for (function, header, min_revision) in [("_/f", None, 1), ("f", Some("7"), 7)] {
        let mut request = mesh.request("GET", &format!("{PATH}?function={function}"));
        if let Some(header) = header {
            request = request.header("x-funless-revision", header);
        }
        let answer = send(request).await;
        assert_eq!(answer.status, 200, "{answer:?}");
        let explained = &answer.json()["data"];
        assert_eq!((&explained["worker"], &explained["decision_id"]), (&json!("w1"), &json!("")));
        let (module, function, scheduling) = ("_".into(), "f".into(), scheduling.clone());
        let now = HypotheticalInvocation { module, function, scheduling, min_revision };
        let state = mesh.scheduler.policies.state.lock();
        assert_eq!(state.asked, Some(Asked::Now(now)));
        assert_eq!(state.caller, Some(Caller::Subject("ann".into())));
    }
}

#[tokio::test]
async fn a_decision_is_explained_by_the_policy_that_made_it() {
    let mesh = Mesh::start().await;
    mesh.scheduler.policies.state.lock().past = vec![past("a-1", "s"), past("a-2", "t"), past("a-3", "")];
    let by_another = |policy: &str, id: &str| {
        detail(&format!("Not Found: {policy} made the decision {id}; see /v1/decisions/{id}"))
    };
    let unknown = detail("Not Found: no decision a-9");
    let cases = [
        ("/v1/scripts/app/s/explain?decision=a-1", 200, data(shown("a-1", "s"))),
        ("/v1/scripts/app/s/explain?decision=a-2", 404, by_another("the script t", "a-2")),
        ("/v1/scripts/app/s/explain?decision=a-3", 404, by_another("the default policy", "a-3")),
        ("/v1/scripts/app/s/explain?decision=a-9", 404, unknown.clone()),
        ("/v1/decisions/a-1", 200, data(shown("a-1", "s"))),
        ("/v1/decisions/a-3", 200, data(shown("a-3", ""))),
        ("/v1/decisions/a-9", 404, unknown),
    ];
    for (path, status, expected) in cases {
        let answer = mesh.ask("GET", path, Body::None).await;
        assert_eq!((answer.status, answer.published()), (status, expected), "{path}");
    }
}

#[tokio::test]
async fn invalid_questions_have_an_error() {
    let mesh = Mesh::start().await;
    let one_of = "Bad Request: expected either function=MODULE/FUNCTION or decision=ID";
    let function = |given: &str| {
        format!("Bad Request: function: expected MODULE/FUNCTION, or FUNCTION of the module _, not {given:?}")
    };
    let cases = [
        ("s/explain", 400, one_of.to_owned()),
        ("s/explain?function=f&decision=a-1", 400, one_of.to_owned()),
        ("s/explain?function=", 400, function("")),
        ("s/explain?function=m/", 400, function("m/")),
        ("s/explain?function=a/b/c", 400, function("a/b/c")),
        ("s/explain?functions=f", 400, "Bad Request: functions: unknown field".to_owned()),
        ("s/explain?function=m/f", 404, "Not Found".to_owned()),
        ("t/explain?function=f", 404, "Not Found: no script t".to_owned()),
    ];
    for (path, status, words) in cases {
        let answer = mesh.ask("GET", &format!("/v1/scripts/app/{path}"), Body::None).await;
        let answered = answer.json()["errors"]["detail"].as_str().unwrap_or_default().to_owned();
        assert_eq!(answer.status, status, "{path}: {answered}");
        assert!(answered.starts_with(&words), "{path}: {answered}");
    }
    let mesh = Mesh::start_with(|config| config.scheduler = nowhere()).await;
    for path in [&format!("{PATH}?function=f"), "/v1/decisions", "/v1/decisions/a-1"] {
        assert_eq!(mesh.ask("GET", path, Body::None).await.status, 503, "{path}");
    }
}

#[tokio::test]
async fn decisions_are_listed_as_a_load() {
    let mesh = Mesh::start().await;
    let invocation =
        TimedInvocation { at_ns: 5_000_000_007, tag: "t".into(), capacity_kb: 64, duration_ns: Some(9) };
    let placed = Decision {
        id: "a-1".into(),
        at_ms: 1_700_000_000_000,
        module: "m".into(),
        function: "f".into(),
        script: "s".into(),
        worker: "w".into(),
        refusal: String::new(),
        invocation: Some(invocation.clone()),
    };
    let still_running = Decision {
        script: String::new(),
        invocation: Some(TimedInvocation { duration_ns: None, ..invocation }),
        ..placed.clone()
    };
    mesh.scheduler.policies.state.lock().decisions = vec![placed, still_running];
    let shown = |script: &str, duration: Value| {
        json!({
            "id": "a-1", "at_ms": 1_700_000_000_000_u64, "module": "m", "function": "f", "script": script,
            "worker": "w", "refusal": "",
            "invocation": {"at_ns": 5_000_000_007_u64, "tag": "t", "capacity_kb": 64, "duration_ns": duration},
        })
    };
    let expected = data(json!([shown("s", json!(9)), shown("", Value::Null)]));
    for (query, limit) in [("", 0), ("?limit=7", 7)] {
        let answer = mesh.ask("GET", &format!("/v1/decisions{query}"), Body::None).await;
        assert_eq!((answer.status, answer.published()), (200, expected.clone()));
        let state = mesh.scheduler.policies.state.lock();
        assert_eq!(state.limit, Some(limit));
        assert_eq!(state.caller, Some(Caller::Subject("ann".into())), "decisions are listed for the caller");
    }
    for query in ["limit=0", "limit=-1", "limit=many", "most=3"] {
        let answer = mesh.ask("GET", &format!("/v1/decisions?{query}"), Body::None).await;
        assert_eq!(answer.status, 400, "{query}");
    }
}
