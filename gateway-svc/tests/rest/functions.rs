use futures::StreamExt as _;
use mesh::hash::Hash;
use mesh::{Error, Reason};
use proto::scheduler::v1::CodeFailure;
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

use super::{ALPHANUMERIC, WASM, data, detail, refused};
use crate::support::http::{Body, Row, send};
use crate::support::{ANN, Mesh};

fn row(method: &'static str, path: &'static str, body: Body, status: u16, answer: Value) -> Row {
    Row { ask: (method, path), body, status, answer }
}

/// The response to an upload that waited for the workers.
fn written(name: &str) -> Value {
    data(json!({"name": name, "workers": {"ready": ["w1"], "failed": []}}))
}

#[tokio::test]
async fn functions_are_created() {
    let mesh = Mesh::start().await;
    let create = |parts, status, answer| row("POST", "/v1/fn/_", Body::Form(parts), status, answer);
    let bad_request = detail("Bad Request");
    mesh.walk(
        ANN,
        [
            create(&[("name", "f"), ("code", WASM)], 201, written("f")),
            create(&[("code", WASM), ("else", "x"), ("name", "g")], 201, written("g")),
            create(&[("name", "f"), ("code", WASM)], 409, detail("Conflict")),
            row(
                "POST",
                "/v1/fn/nope",
                Body::Form(&[("name", "f"), ("code", WASM)]),
                404,
                detail("Not Found"),
            ),
            create(&[("name", "h")], 400, bad_request.clone()),
            create(&[("code", WASM)], 400, bad_request.clone()),
            create(&[], 400, bad_request.clone()),
            row("POST", "/v1/fn/_", Body::None, 400, bad_request.clone()),
            row("POST", "/v1/fn/_", Body::Json(r#"{"name":"h"}"#), 400, bad_request.clone()),
            row(
                "POST",
                "/v1/fn/_",
                Body::Typed("multipart/form-data; boundary=b", "--b\r\nbroken"),
                400,
                bad_request.clone(),
            ),
            create(&[("name", "h"), ("code", "")], 422, refused("code", "can't be blank")),
            create(&[("name", "h"), ("code", "MZ")], 422, refused("code", "is not WebAssembly")),
            create(&[("name", ""), ("code", WASM)], 422, refused("name", "can't be blank")),
            create(&[("name", "h.i"), ("code", WASM)], 422, refused("name", ALPHANUMERIC)),
            create(&[("name", "h"), ("code", WASM), ("metadata", "[]")], 400, bad_request.clone()),
            create(&[("name", "h"), ("code", WASM), ("metadata", "{")], 400, bad_request.clone()),
            create(
                &[("name", "h"), ("code", WASM), ("metadata", r#"{"tag":1}"#)],
                422,
                refused("tag", "is invalid"),
            ),
            create(
                &[("name", "h"), ("code", WASM), ("metadata", r#"{"capacity":"64"}"#)],
                422,
                refused("capacity", "is invalid"),
            ),
            create(&[("name", "h"), ("code", WASM), ("events", "{}")], 400, bad_request.clone()),
            create(&[("name", "h"), ("code", WASM), ("sinks", "[")], 400, bad_request.clone()),
            create(&[("name", "h"), ("code", WASM), ("code", WASM)], 400, bad_request.clone()),
            create(&[("name", "h"), ("name", "i"), ("code", WASM)], 400, bad_request.clone()),
            create(&[("name", "h"), ("code", WASM), ("x", "1"), ("x", "2")], 400, bad_request),
            create(
                &[("name", "h"), ("code", WASM), ("wait_for_workers", "maybe")],
                422,
                refused("wait_for_workers", "must be true or false"),
            ),
            create(&[("name", "h"), ("code", WASM), ("metadata", "")], 201, written("h")),
        ],
    )
    .await;
}

#[tokio::test]
async fn functions_are_shown_updated_and_deleted() {
    let mesh = Mesh::start().await;
    for parts in [&[("name", "f"), ("code", WASM)], &[("name", "g"), ("code", WASM)]] {
        assert_eq!(mesh.ask("POST", "/v1/fn/_", Body::Form(parts)).await.status, 201);
    }
    let (bad_request, not_found) = (detail("Bad Request"), detail("Not Found"));
    mesh.walk(
        ANN,
        [
            row("GET", "/v1/fn/_/h", Body::None, 404, not_found.clone()),
            row("GET", "/v1/fn/nope/f", Body::None, 404, not_found.clone()),
            row("PUT", "/v1/fn/_/f", Body::Form(&[("name", "k"), ("code", WASM)]), 200, written("k")),
            row("PUT", "/v1/fn/_/k", Body::Form(&[("name", "f")]), 200, data(json!({"name": "f"}))),
            row("PUT", "/v1/fn/_/f", Body::Form(&[("code", WASM)]), 200, written("f")),
            row("PUT", "/v1/fn/_/f", Body::Form(&[("name", "g")]), 409, detail("Conflict")),
            row("PUT", "/v1/fn/_/f", Body::Form(&[("name", "")]), 422, refused("name", "can't be blank")),
            row("PUT", "/v1/fn/_/f", Body::Form(&[("unknown", "")]), 200, data(json!({"name": "f"}))),
            row("PUT", "/v1/fn/_/f", Body::Form(&[("name", "-")]), 422, refused("name", ALPHANUMERIC)),
            row("PUT", "/v1/fn/_/f", Body::Form(&[("code", "")]), 422, refused("code", "can't be blank")),
            row("PUT", "/v1/fn/_/f", Body::Form(&[("metadata", "7")]), 400, bad_request.clone()),
            row("PUT", "/v1/fn/_/f", Body::None, 400, bad_request),
            row("PUT", "/v1/fn/_/h", Body::Form(&[("name", "i"), ("code", WASM)]), 404, not_found.clone()),
            row("DELETE", "/v1/fn/_/f", Body::None, 204, Value::Null),
            row("DELETE", "/v1/fn/_/f", Body::None, 404, not_found),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_function_is_shown_with_all_fields() {
    let mesh = Mesh::start().await;
    let metadata =
        r#"{"tag":"edge","capacity":128,"idempotent":true,"script":"s","limits":{"timeout_ms":1500}}"#;
    let parts = [
        ("name", "f"),
        ("code", WASM),
        ("metadata", metadata),
        ("sinks", r#"[{"type":"couchdb","params":{"url":"http://db/x"}}]"#),
    ];
    let upload = mesh.request("POST", "/v1/fn/_").multipart(crate::support::http::form(&parts));
    assert_eq!(send(upload).await.status, 201);
    let expected = json!({
        "name": "f", "module": "_", "creator": "ann", "hash": Hash::of(WASM.as_bytes()).to_string(), "size": WASM.len(), "kind": "funless",
        "metadata": {"tag": "edge", "capacity": 128, "idempotent": true, "script": "s"},
        "limits": {"memory_bytes": null, "timeout_ms": 1500, "output_bytes": null},
        "events": [],
        "sinks": [{
            "id": "couchdb-0", "type": "couchdb", "params": {"url": "http://db/x"},
            "state": "connected", "since": "2023-11-14T22:13:20Z", "message": null,
            "last_delivery_at": "2023-11-14T22:13:21Z",
            "counts": {"accepted": 0, "delivered": 0, "pending": 0, "dead": 0, "purged": 0},
        }],
        "created_at": "2023-11-14T22:13:20Z", "updated_at": "2023-11-14T22:13:20Z",
    });
    let answer = mesh.ask("GET", "/v1/fn/_/f", Body::None).await;
    assert_eq!((answer.status, answer.published()), (200, data(expected)));
}

#[tokio::test]
async fn an_update_changes_only_given_parts() {
    let mesh = Mesh::start().await;
    mesh.ask("POST", "/v1/fn/_", Body::Form(&[("name", "f"), ("code", WASM)])).await;
    mesh.ask("PUT", "/v1/fn/_/f", Body::Form(&[("metadata", r#"{"capacity":1}"#)])).await;
    let update = mesh.registry.state.lock().update.clone().expect("an update");
    assert_eq!(update.metadata.map(|metadata| metadata.capacity_kb), Some(1));
    let absent = (update.new_name, update.limits, update.events, update.sinks);
    assert_eq!(absent, (None, None, None, None));
    assert_eq!(
        mesh.scheduler.state.lock().awaited.len(),
        1,
        "an update without code does not wait for workers"
    );
}

#[tokio::test]
async fn creation_waits_for_the_workers_by_default() {
    let mesh = Mesh::start().await;
    let hash = Hash::of(WASM.as_bytes()).to_bytes();
    for (name, wait, waited) in [("a", "true", 1), ("b", "false", 1), ("c", "0", 1), ("d", "", 2)] {
        let form = Form::new().text("name", name).text("code", WASM).text("wait_for_workers", wait);
        assert_eq!(send(mesh.request("POST", "/v1/fn/_").multipart(form)).await.status, 201);
        assert_eq!(mesh.scheduler.state.lock().awaited, vec![hash.clone(); waited], "{wait}");
    }
    mesh.scheduler.state.lock().await_failure = Some(Error::new(Reason::DeadlineExceeded, "slow"));
    let answer = mesh.ask("POST", "/v1/fn/_", Body::Form(&[("name", "e"), ("code", WASM)])).await;
    assert_eq!(answer.status, 201, "the function is created in any case");
    let message = "the scheduler did not say whether the workers have the code";
    let unknown = json!({"name": "e", "workers": {"ready": [], "failed": [], "message": message}});
    assert_eq!(answer.json(), data(unknown));
}

#[tokio::test]
async fn creation_reports_the_state_of_the_code_on_the_workers() {
    let mesh = Mesh::start().await;
    let failure = CodeFailure { worker: "pi".into(), message: "it needs more memory".into() };
    mesh.scheduler.state.lock().code_failures = vec![failure];
    let create = mesh.ask("POST", "/v1/fn/_", Body::Form(&[("name", "f"), ("code", WASM)])).await;
    let update = mesh.ask("PUT", "/v1/fn/_/f", Body::Form(&[("code", WASM)])).await;
    for (answer, status) in [(create, 201), (update, 200)] {
        let failed = json!([{"worker": "pi", "message": "it needs more memory"}]);
        let expected = json!({"name": "f", "workers": {"ready": ["w1"], "failed": failed}});
        assert_eq!((answer.status, answer.json()), (status, data(expected)));
    }
    mesh.scheduler.state.lock().none_ready = true;
    let update = mesh.ask("PUT", "/v1/fn/_/f", Body::Form(&[("code", WASM)])).await;
    let workers = &update.json()["data"]["workers"];
    let message = workers["message"].as_str().expect("a message when all workers refuse the code");
    assert!(message.starts_with("no worker has the code ready, so the function cannot run"), "{message}");
    assert_eq!(workers["failed"], json!([{"worker": "pi", "message": "it needs more memory"}]));
    let update = Form::new().text("code", WASM).text("wait_for_workers", "false");
    let answer = send(mesh.request("PUT", "/v1/fn/_/f").multipart(update)).await;
    assert_eq!(answer.json(), data(json!({"name": "f"})), "without waiting there is no state of the workers");
}

#[tokio::test]
async fn lists_in_several_parts_are_refused() {
    let mesh = Mesh::start().await;
    for (part, list) in [("events[type]", "events"), ("events[0][type]", "events"), ("sinks[0]", "sinks")] {
        let form = Form::new().text("name", "f").text("code", WASM).text(part, "mqtt");
        let answer = send(mesh.request("POST", "/v1/fn/_").multipart(form)).await;
        let message = format!("part `{part}`: send one part `{list}` with a JSON list of objects");
        assert_eq!((answer.status, answer.json()["errors"]["message"].clone()), (400, json!(message)));
    }
    assert_eq!(mesh.ask("GET", "/v1/fn/_/f", Body::None).await.status, 404, "nothing is stored");
}

/// `size` bytes that start like a WebAssembly module, as a stream.
fn code(size: usize) -> Part {
    let mut head = vec![0; size.min(64 << 10)];
    let magic = size.min(4);
    head[..magic].copy_from_slice(&b"\0asm"[..magic]);
    let rest = size - head.len();
    let pieces = std::iter::once(head).chain(
        (0..rest.div_ceil(64 << 10)).map(move |piece| vec![1; (rest - piece * (64 << 10)).min(64 << 10)]),
    );
    let pieces = futures::stream::iter(pieces).map(Ok::<_, std::io::Error>);
    Part::stream(reqwest::Body::wrap_stream(pieces)).file_name("f.wasm")
}

#[tokio::test]
async fn code_is_sent_in_chunks_and_arrives_unchanged() {
    let mesh = Mesh::start().await;
    let size = (3 << 20) + 77;
    let form = Form::new().part("code", code(size)).text("name", "big");
    assert_eq!(send(mesh.request("POST", "/v1/fn/_").multipart(form)).await.status, 201);
    let state = mesh.registry.state.lock();
    assert_eq!(state.code.len(), size);
    assert!(state.code[64 << 10..].iter().all(|byte| *byte == 1));
    assert_eq!(state.largest_chunk, 256 << 10);
}

#[tokio::test]
async fn too_large_code_is_413_in_any_position() {
    let mesh = Mesh::start_with(|config| config.max_code_bytes = 1 << 20).await;
    let upload = async |form: Form| send(mesh.request("POST", "/v1/fn/_").multipart(form)).await;

    let answer = upload(Form::new().text("name", "f").part("code", code((1 << 20) + 1))).await;
    let expected = detail("Payload Too Large: code may have at most 1048576 bytes");
    assert_eq!((answer.status, answer.published()), (413, expected));
    // Far over the limit: the client is still sending when it receives the response.
    assert_eq!(upload(Form::new().part("code", code(12 << 20)).text("name", "f")).await.status, 413);
    assert_eq!(upload(Form::new().part("name", code((1 << 20) + 1))).await.status, 413);
    assert_eq!(upload(Form::new().part("ignored", code(20 << 20)).text("name", "f")).await.status, 413);
    assert_eq!(upload(Form::new().text("name", "f").part("code", code(1 << 20))).await.status, 201);
}

#[tokio::test]
async fn headers_and_parts_of_uploads_are_bounded() {
    let mesh = Mesh::start().await;
    let upload = async |form: Form| send(mesh.request("POST", "/v1/fn/_").multipart(form)).await;
    let named = |bytes: usize| Form::new().part("code", Part::text(WASM).file_name("x".repeat(bytes)));

    assert_eq!(upload(named(10 << 10).text("name", "f")).await.status, 201);
    for bytes in [1 << 20, 70 << 20] {
        let answer = upload(named(bytes).text("name", "g")).await;
        let expected = detail("Payload Too Large: the header of a part may have at most 16384 bytes");
        assert_eq!((answer.status, answer.published()), (413, expected), "{bytes}");
    }
    let many = (0..100).fold(Form::new(), |form, number| form.text(number.to_string(), ""));
    let answer = upload(many).await;
    assert_eq!(
        (answer.status, answer.json()["errors"]["message"].clone()),
        (400, json!("an upload may have at most 64 parts"))
    );
    // An ignored part of any size is not a header.
    let form = Form::new().part("ignored", code(5 << 20)).text("name", "h").text("code", WASM);
    assert_eq!(upload(form).await.status, 201);
}

#[tokio::test]
async fn failures_of_the_registry_have_different_statuses() {
    let mesh = Mesh::start().await;
    let cases = [
        (Error::new(Reason::TooLarge, "code is larger than the limit"), 413),
        (Error::new(Reason::Unavailable, "it stops"), 503),
        (Error::new(Reason::Internal, "disk"), 500),
    ];
    for (error, status) in cases {
        *mesh.registry.failure.lock() = Some(error.clone());
        let answer = mesh.ask("POST", "/v1/fn/_", Body::Form(&[("name", "f"), ("code", WASM)])).await;
        assert_eq!(answer.status, status, "{error:?}");
        assert!(!answer.text.contains("disk") && !answer.text.contains("it stops"), "{}", answer.text);
    }
}
