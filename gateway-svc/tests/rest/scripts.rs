use mesh::Caller;
use serde_json::{Value, json};

use super::{data, detail, refused};
use crate::support::http::{Body, Row, send};
use crate::support::{ANN, Mesh, nowhere};

const PATH: &str = "/v1/scripts/app";
const YAML: &str = "- default:\n  - workers: '*'\n";

fn script(name: &str) -> Value {
    let block = json!({
        "workers": "*",
        "strategy": "best-first",
        "invalidate": {"capacity_used": "infinity", "max_concurrent_invocations": "infinity"},
        "affinity": {"affinity": [], "antiaffinity": []},
    });
    let tags = json!({"default": {"blocks": [block], "followup": "fail"}});
    json!({"name": name, "owner": null, "content": YAML, "script": {"content": YAML, "tags": tags}})
}

fn created(name: &str) -> Value {
    let mut created = script(name);
    created["warnings"] = json!([]);
    created
}

/// The error for a `force` that is neither true nor false.
const FORCE: &str = "Bad Request: force: provided string was not `true` or `false`";

fn row(method: &'static str, path: &'static str, body: Body, status: u16, answer: Value) -> Row {
    Row { ask: (method, path), body, status, answer }
}

#[tokio::test]
async fn scripts_are_created_shown_and_deleted() {
    let mesh = Mesh::start().await;
    mesh.registry.state.lock().used_script = "a".into();
    let create = |parts, status, answer| row("POST", PATH, Body::Form(parts), status, answer);
    mesh.walk(
        ANN,
        [
            row("GET", PATH, Body::None, 200, data(json!([]))),
            create(&[("name", "b"), ("file", YAML)], 201, data(created("b"))),
            create(&[("other", "x"), ("file", YAML), ("name", "a")], 201, data(created("a"))),
            row("GET", PATH, Body::None, 200, data(json!([script("a"), script("b")]))),
            row("GET", "/v1/scripts/app/a", Body::None, 200, data(script("a"))),
            row("GET", "/v1/scripts/app/c", Body::None, 404, detail("Not Found: no script c")),
            create(&[("name", "a"), ("file", YAML)], 422, refused("name", "has already been taken")),
            create(&[("name", "a-b c"), ("file", YAML)], 201, data(created("a-b c"))),
            row("GET", "/v1/scripts/app/a-b%20c", Body::None, 200, data(script("a-b c"))),
            create(&[("name", "c"), ("file", "")], 422, refused("file", "can't be blank")),
            create(&[("name", "c")], 400, detail("Bad Request")),
            create(&[("file", YAML)], 400, detail("Bad Request")),
            row("POST", PATH, Body::Json("{}"), 400, detail("Bad Request")),
            row("POST", PATH, Body::None, 400, detail("Bad Request")),
            row("DELETE", "/v1/scripts/app/a?force=maybe", Body::None, 400, detail(FORCE)),
            row("DELETE", "/v1/scripts/app/a", Body::None, 409, detail("Conflict: a function uses it")),
            row("DELETE", "/v1/scripts/app/a?force=true", Body::None, 204, Value::Null),
            row("DELETE", "/v1/scripts/app/a", Body::None, 404, detail("Not Found: no script a")),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_script_is_utf_8_text_of_limited_size() {
    let mesh = Mesh::start().await;
    let upload = async |file: Vec<u8>| {
        let form = reqwest::multipart::Form::new().text("name", "s");
        let form = form.part("file", reqwest::multipart::Part::bytes(file).file_name("s.yml"));
        send(mesh.request("POST", PATH).multipart(form)).await
    };
    let answer = upload(vec![b'-', 0xff]).await;
    assert_eq!((answer.status, answer.published()), (422, refused("file", "is not UTF-8 text")));
    assert_eq!(upload(vec![b'#'; (1 << 20) + 1]).await.status, 413);
}

#[tokio::test]
async fn an_invalid_script_is_refused_with_every_problem() {
    const WRONG: &str =
        "wrong 1\ndoubtful\nwrong 2\nwrong 3\nwrong 4\nwrong 5\nwrong 6\nwrong 7\nwrong 8\nwrong 9";
    let mesh = Mesh::start().await;
    let answer = mesh.ask("POST", PATH, Body::Form(&[("name", "s"), ("file", WRONG)])).await;
    let problem = |(number, line): (u32, u32)| format!("line {line}: wrong {number}");
    let messages: Vec<_> = (1..=9).zip(std::iter::once(1).chain(3..)).map(problem).collect();
    assert_eq!((answer.status, answer.published()), (422, json!({"errors": {"file": messages}})));
    assert_eq!(mesh.scheduler.policies.state.lock().caller, Some(Caller::Subject("ann".into())));
    assert!(mesh.registry.state.lock().scripts.is_empty(), "nothing is stored");
}

#[tokio::test]
async fn a_script_with_warnings_is_stored() {
    let mesh = Mesh::start().await;
    const DOUBTFUL: &str = "# a worker\n# doubtful";
    let answer = mesh.ask("POST", PATH, Body::Form(&[("name", "s"), ("file", DOUBTFUL)])).await;
    let warning = json!({
        "kind": "unknown_worker", "message": "line 2: # doubtful", "tag": "default", "block": 1,
        "line": 2, "column": 3,
    });
    assert_eq!((answer.status, answer.json()["data"]["warnings"].clone()), (201, json!([warning])));
    assert_eq!(answer.header("x-funless-revision"), Some("1"));
    assert_eq!(mesh.registry.state.lock().scripts.get("s").map(String::as_str), Some(DOUBTFUL));
    let shown = mesh.ask("GET", "/v1/scripts/app/s", Body::None).await.json();
    assert_eq!(shown["data"].get("warnings"), None, "warnings are only in the response to the upload");
}

#[tokio::test]
async fn without_the_scheduler_scripts_are_shown_unparsed_and_not_stored() {
    let mesh = Mesh::start_with(|config| config.scheduler = nowhere()).await;
    mesh.registry.state.lock().scripts.insert("s".into(), YAML.into());
    let unparsed =
        json!({"name": "s", "owner": null, "content": YAML, "script": {"content": YAML, "tags": null}});
    let answer = mesh.ask("GET", "/v1/scripts/app/s", Body::None).await;
    assert_eq!((answer.status, answer.published()), (200, data(unparsed.clone())));
    let answer = mesh.ask("GET", PATH, Body::None).await;
    assert_eq!((answer.status, answer.published()), (200, data(json!([unparsed]))));

    let answer = mesh.ask("POST", PATH, Body::Form(&[("name", "t"), ("file", YAML)])).await;
    let unavailable = detail("Service Unavailable: a part of the platform cannot be reached");
    assert_eq!((answer.status, answer.published()), (503, unavailable));
    assert!(answer.header("retry-after").is_some(), "nothing was done");
    assert_eq!(mesh.registry.state.lock().scripts.len(), 1);
}

#[tokio::test]
async fn a_stored_script_that_is_invalid_is_shown_as_text() {
    let mesh = Mesh::start().await;
    mesh.registry.state.lock().scripts.insert("s".into(), "wrong".into());
    let answer = mesh.ask("GET", "/v1/scripts/app/s", Body::None).await.json();
    assert_eq!(answer["data"]["script"], json!({"content": "wrong", "tags": null}));
}

#[tokio::test]
async fn lint_returns_all_problems_and_stores_nothing() {
    let mesh = Mesh::start().await;
    let lint = |body, status, answer| row("POST", "/v1/app/lint", Body::Json(body), status, answer);
    let problem = |kind: &str, line: u32, text: &str| {
        json!({
            "kind": kind, "message": format!("line {line}: {text}"), "tag": "default", "block": 1,
            "line": line, "column": 3,
        })
    };
    let found = json!({
        "errors": [problem("unknown_construct", 2, "wrong")],
        "warnings": [problem("unknown_worker", 1, "doubtful")],
    });
    let bad = |why: &str| detail(&format!("Bad Request: {why}"));
    mesh.walk(
        ANN,
        [
            lint(r#"{"content":"- default:"}"#, 200, data(json!({"errors": [], "warnings": []}))),
            lint(r#"{"content":"doubtful\nwrong"}"#, 200, data(found)),
            lint("{}", 400, bad("line 1 column 2: missing field `content`")),
            lint(
                r#"{"content":1}"#,
                400,
                bad("line 1 column 12: invalid type: integer `1`, expected a string"),
            ),
            lint(
                r#"{"contents":""}"#,
                400,
                bad("line 1 column 11: unknown field `contents`, expected `content`"),
            ),
        ],
    )
    .await;
    assert_eq!(mesh.scheduler.policies.state.lock().checked, ["- default:", "doubtful\nwrong"]);
    assert!(mesh.registry.state.lock().scripts.is_empty());
}
