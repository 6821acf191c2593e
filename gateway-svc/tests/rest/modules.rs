use serde_json::{Value, json};

use super::{ALPHANUMERIC, WASM, data, detail, refused};
use crate::support::http::{Body, Row};
use crate::support::{ANN, Mesh};

/// A module whose name has 161 characters.
const TOO_LONG: &str = concat!(
    r#"{"module":{"name":""#,
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
    r#""}}"#
);

fn row(method: &'static str, path: &'static str, body: &'static str, status: u16, answer: Value) -> Row {
    let body = if body.is_empty() { Body::None } else { Body::Json(body) };
    Row { ask: (method, path), body, status, answer }
}

#[tokio::test]
async fn modules_are_created_shown_renamed_and_deleted() {
    let mesh = Mesh::start().await;
    let default = "Cannot delete default module";
    let (bad_request, not_found) = (detail("Bad Request"), detail("Not Found"));
    let blank = refused("name", "can't be blank");
    mesh.walk(ANN, [
        row("GET", "/v1/fn", "", 200, data(json!([{"name": "_"}]))),
        row("POST", "/v1/fn", r#"{"module":{"name":"b_1"}}"#, 201, data(json!({"name": "b_1"}))),
        row("POST", "/v1/fn", r#"{"x":[],"module":{"x":1,"name":"A"},"y":{}}"#, 201, data(json!({"name": "A"}))),
        row("GET", "/v1/fn", "", 200, data(json!([{"name": "_"}, {"name": "A"}, {"name": "b_1"}]))),
        row("GET", "/v1/fn/", "", 200, data(json!([{"name": "_"}, {"name": "A"}, {"name": "b_1"}]))),
        row("POST", "/v1/fn", r#"{"module":{"name":"A"}}"#, 422, refused("name", "has already been taken")),
        row("POST", "/v1/fn", r#"{"module":{"name":"a.b"}}"#, 422, refused("name", ALPHANUMERIC)),
        row("POST", "/v1/fn", r#"{"module":{"name":"é"}}"#, 422, refused("name", ALPHANUMERIC)),
        row("POST", "/v1/fn", r#"{"module":{"name":"a\n"}}"#, 422, refused("name", ALPHANUMERIC)),
        row("POST", "/v1/fn", TOO_LONG, 422, refused("name", "should be at most 160 character(s)")),
        row("POST", "/v1/fn", r#"{"module":{"name":7}}"#, 422, refused("name", "is invalid")),
        row("POST", "/v1/fn", r#"{"module":{"name":{}}}"#, 422, refused("name", "is invalid")),
        row("POST", "/v1/fn", r#"{"module":{"name":null}}"#, 422, blank.clone()),
        row("POST", "/v1/fn", r#"{"module":{"name":" "}}"#, 422, blank.clone()),
        row("POST", "/v1/fn", r#"{"module":{"name":""}}"#, 422, blank.clone()),
        row("POST", "/v1/fn", r#"{"module":{}}"#, 422, blank.clone()),
        row("POST", "/v1/fn", r#"{"name":"c"}"#, 400, bad_request.clone()),
        row("POST", "/v1/fn", "", 400, bad_request.clone()),
        row("POST", "/v1/fn", r#"{"module":"c"}"#, 400, bad_request.clone()),
        row("POST", "/v1/fn", r#"{"module":null}"#, 400, bad_request.clone()),
        row("POST", "/v1/fn", r#"[{"module":{"name":"c"}}]"#, 400, bad_request.clone()),
        row("POST", "/v1/fn", r#"{"module":"#, 400, bad_request.clone()),
        row("GET", "/v1/fn/A", "", 200, data(json!({"name": "A", "functions": []}))),
        row("GET", "/v1/fn/nope", "", 404, not_found.clone()),
        row("GET", "/v1/fn/a%2Fb", "", 404, not_found.clone()),
        row("GET", "/v1/fn/%ff", "", 404, not_found.clone()),
        row("PUT", "/v1/fn/A", r#"{"module":{"name":"C"}}"#, 200, data(json!({"name": "C"}))),
        row("PUT", "/v1/fn/C", r#"{"module":{}}"#, 200, data(json!({"name": "C"}))),
        row("PUT", "/v1/fn/C", r#"{"module":{"name":null}}"#, 422, blank.clone()),
        row("PUT", "/v1/fn/C", r#"{"module":{"name":""}}"#, 422, blank),
        row("PUT", "/v1/fn/C", r#"{"module":{"name":[]}}"#, 422, refused("name", "is invalid")),
        row("PUT", "/v1/fn/C", r#"{"module":{"name":"b_1"}}"#, 422, refused("name", "has already been taken")),
        row("PUT", "/v1/fn/C", "{}", 400, bad_request),
        row("PUT", "/v1/fn/A", r#"{"module":{"name":"D"}}"#, 404, not_found.clone()),
        row("PUT", "/v1/fn/A", r#"{"module":{}}"#, 404, not_found.clone()),
        row(
            "PUT",
            "/v1/fn/_",
            r#"{"module":{"name":"D"}}"#,
            400,
            json!({"error": "Cannot rename default module", "errors": {"detail": "Cannot rename default module"}}),
        ),
        row("DELETE", "/v1/fn/C", "", 204, Value::Null),
        row("DELETE", "/v1/fn/C", "", 404, not_found),
        row("DELETE", "/v1/fn/_", "", 400, json!({"error": default, "errors": {"detail": default}})),
    ])
    .await;
}

#[tokio::test]
async fn a_module_lists_its_functions_and_is_deleted_with_them() {
    let mesh = Mesh::start().await;
    mesh.ask("POST", "/v1/fn", Body::Json(r#"{"module":{"name":"m"}}"#)).await;
    for parts in [&[("name", "b"), ("code", WASM)], &[("name", "a"), ("code", WASM)]] {
        assert_eq!(mesh.ask("POST", "/v1/fn/m", Body::Form(parts)).await.status, 201);
    }
    let functions = json!([{"name": "a"}, {"name": "b"}]);
    mesh.walk(
        ANN,
        [
            row("GET", "/v1/fn/m", "", 200, data(json!({"name": "m", "functions": functions}))),
            row("DELETE", "/v1/fn/m", "", 204, Value::Null),
            row("GET", "/v1/fn/m/a", "", 404, detail("Not Found")),
        ],
    )
    .await;
}
