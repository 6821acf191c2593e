//! A table of REST requests and the expected responses.

use http::Method;
use serde_json::{Value, json};
use tests::client::Upload;
use tests::{Answer, Client, Mesh, guests};

/// One request and the expected response.
struct Row {
    /// Method and path, such as `GET /v1/fn`.
    request: &'static str,
    body: Body,
    status: u16,
    answer: Expected,
}

enum Body {
    None,
    Json(Value),
    Form(Upload),
}

enum Expected {
    Nothing,
    /// Exactly this value.
    Is(Value),
    /// At least this value: objects may have more members.
    Has(Value),
}

use Body::{Form, Json, None as NoBody};
use Expected::{Has, Is, Nothing};

fn row(request: &'static str, body: Body, status: u16, answer: Expected) -> Row {
    Row { request, body, status, answer }
}

async fn check(user: &Client, rows: Vec<Row>) {
    for Row { request, body, status, answer } in rows {
        let (method, path) = request.split_once(' ').expect("METHOD /path");
        let method: Method = method.parse().expect("a method");
        let got = match body {
            NoBody => user.send(user.request(method, path)).await,
            Json(body) => user.send(user.request(method, path).json(&body)).await,
            Form(upload) if method == Method::PUT => user.put_form(path, upload).await,
            Form(upload) => user.post_form(path, upload).await,
        };
        let got = got.expect(status);
        match answer {
            Nothing => assert_eq!(got.text, "", "{request}"),
            Is(expected) => assert_eq!(got.json(), expected, "{request}"),
            Has(expected) => {
                assert!(has(&got.json(), &expected), "{request}: {} does not contain {expected}", got.text)
            }
        }
    }
}

fn has(actual: &Value, expected: &Value) -> bool {
    match (actual, expected) {
        (Value::Object(actual), Value::Object(expected)) => {
            expected.iter().all(|(key, value)| actual.get(key).is_some_and(|actual| has(actual, value)))
        }
        (Value::Array(actual), Value::Array(expected)) => {
            actual.len() == expected.len() && actual.iter().zip(expected).all(|(a, e)| has(a, e))
        }
        _ => actual == expected,
    }
}

/// An error with this detail. Other tests check the remaining members.
fn detail(words: &str) -> Expected {
    Has(json!({ "errors": { "detail": words } }))
}

fn refused(field: &str, message: &str) -> Expected {
    Is(json!({ "errors": { field: [message] } }))
}

fn module(name: &str) -> Body {
    Json(json!({ "module": { "name": name } }))
}

fn data(value: Value) -> Expected {
    Is(json!({ "data": value }))
}

const TAKEN: &str = "has already been taken";
const SLASHES: &str = "must not contain slashes, or be . or ..";
const CHARACTERS: &str = "must contain only alphanumeric characters and underscores";

pub async fn modules(mesh: &Mesh) {
    let user = mesh.admin().create_subject("rows_of_modules").await;
    let cannot_delete = "Cannot delete default module";
    let rows = vec![
        row("GET /v1/fn", NoBody, 200, data(json!([{ "name": "_" }]))),
        row("GET /v1/fn/", NoBody, 200, data(json!([{ "name": "_" }]))),
        row("POST /v1/fn", module("rows_b"), 201, data(json!({ "name": "rows_b" }))),
        row("POST /v1/fn", module("rows_A"), 201, data(json!({ "name": "rows_A" }))),
        row("POST /v1/fn", module("rows_b"), 422, refused("name", TAKEN)),
        row("POST /v1/fn", module("_"), 422, refused("name", TAKEN)),
        row("POST /v1/fn", module("no dots."), 422, refused("name", CHARACTERS)),
        row("POST /v1/fn", Json(json!({ "name": "rows_c" })), 400, detail("Bad Request")),
        row("POST /v1/fn", Json(json!({ "module": {} })), 422, refused("name", "can't be blank")),
        row(
            "POST /v1/fn",
            Json(json!({ "module": { "name": "rows_c", "colour": "red" }, "more": 1 })),
            201,
            data(json!({ "name": "rows_c" })),
        ),
        row("GET /v1/fn/rows_b", NoBody, 200, data(json!({ "name": "rows_b", "functions": [] }))),
        row("GET /v1/fn/rows_none", NoBody, 404, detail("Not Found")),
        row("PUT /v1/fn/rows_b", module("rows_d"), 200, data(json!({ "name": "rows_d" }))),
        row("GET /v1/fn/rows_b", NoBody, 404, detail("Not Found")),
        row("PUT /v1/fn/rows_d", module("rows_d"), 200, data(json!({ "name": "rows_d" }))),
        row("PUT /v1/fn/rows_d", module("rows_c"), 422, refused("name", TAKEN)),
        row("PUT /v1/fn/rows_d", module("a.b"), 422, refused("name", CHARACTERS)),
        row("PUT /v1/fn/rows_d", Json(json!({ "module": {} })), 200, data(json!({ "name": "rows_d" }))),
        row("PUT /v1/fn/rows_none", module("rows_e"), 404, detail("Not Found")),
        row("DELETE /v1/fn/rows_none", NoBody, 404, detail("Not Found")),
        row(
            "DELETE /v1/fn/_",
            NoBody,
            400,
            Has(json!({ "error": cannot_delete, "errors": { "detail": cannot_delete } })),
        ),
        row("PUT /v1/fn/_", module("rows_e"), 400, Has(json!({ "errors": {} }))),
        row("DELETE /v1/fn/rows_d", NoBody, 204, Nothing),
        row("DELETE /v1/fn/rows_A", NoBody, 204, Nothing),
        row("GET /v1/fn", NoBody, 200, data(json!([{ "name": "_" }, { "name": "rows_c" }]))),
        row("DELETE /v1/fn/rows_c", NoBody, 204, Nothing),
    ];
    check(&user, rows).await;
}

pub async fn functions(mesh: &Mesh) {
    let user = mesh.admin().create_subject("rows_of_functions").await;
    user.create_module("rows_f").await;
    let one = guests::responding(b"1");
    let named = |name: &str| Upload::function(name, &one);
    let f = Form;
    let named_f = || json!({ "data": { "name": "f" } });
    let bad = || detail("Bad Request");
    let rows = vec![
        row("POST /v1/fn/rows_f", f(named("f")), 201, Has(named_f())),
        row("POST /v1/fn/rows_f", f(named("f")), 409, detail("Conflict")),
        row("POST /v1/fn/rows_f", f(named("g")), 201, Has(json!({ "data": { "name": "g" } }))),
        row("POST /v1/fn/rows_f", f(Upload::default().text("name", "h")), 400, bad()),
        row("POST /v1/fn/rows_f", f(Upload::default().file("code", &one)), 400, bad()),
        row("POST /v1/fn/rows_f", f(named("h").text("metadata", "{")), 400, bad()),
        row("POST /v1/fn/rows_f", f(named("h").text("metadata", "[]")), 400, bad()),
        row(
            "POST /v1/fn/rows_f",
            f(named("h").text("metadata", r#"{"capacity":"much"}"#)),
            422,
            Has(json!({ "errors": {} })),
        ),
        row("POST /v1/fn/rows_none", f(named("f")), 404, detail("Not Found")),
        row("POST /v1/fn/rows_f", f(named("a.b")), 422, refused("name", CHARACTERS)),
        row("GET /v1/fn/rows_f/f", NoBody, 200, Has(named_f())),
        row("GET /v1/fn/rows_f/none", NoBody, 404, detail("Not Found")),
        row("GET /v1/fn/rows_none/f", NoBody, 404, detail("Not Found")),
        row(
            "GET /v1/fn/rows_f",
            NoBody,
            200,
            Has(json!({ "data": { "name": "rows_f", "functions": [{ "name": "f" }, { "name": "g" }] } })),
        ),
        row("DELETE /v1/fn/rows_f/none", NoBody, 404, detail("Not Found")),
        row("DELETE /v1/fn/rows_f/f", NoBody, 204, Nothing),
        row("DELETE /v1/fn/rows_f", NoBody, 204, Nothing),
        row("GET /v1/fn/rows_f/g", NoBody, 404, detail("Not Found")),
    ];
    check(&user, rows).await;
}

pub async fn updates_and_invocations(mesh: &Mesh) {
    let user = mesh.admin().create_subject("rows_of_updates").await;
    user.create_module("rows_u").await;
    for name in ["f", "g"] {
        user.create_function("rows_u", name, &guests::responding(b"0")).await;
    }
    let named = |name: &str| Form(Upload::function(name, &guests::responding(b"1")));
    let two = Form(Upload::function("f", &guests::responding(b"2")));
    let called = |name: &str| Has(json!({ "data": { "name": name } }));
    let rows = vec![
        row("PUT /v1/fn/rows_u/f", two, 200, called("f")),
        row("POST /v1/fn/rows_u/f", NoBody, 200, data(json!(2))),
        row("PUT /v1/fn/rows_u/f", named("g"), 409, detail("Conflict")),
        row("PUT /v1/fn/rows_u/none", named("none"), 404, detail("Not Found")),
        row("PUT /v1/fn/rows_u/f", named("a.b"), 422, refused("name", CHARACTERS)),
        row("PUT /v1/fn/rows_u/f", named("e"), 200, called("e")),
        row("POST /v1/fn/rows_u/e", NoBody, 200, data(json!(1))),
        row("POST /v1/fn/rows_u/f", NoBody, 404, detail("Not Found")),
        row("POST /v1/fn/rows_none/f", NoBody, 404, detail("Not Found")),
        row(
            "POST /v1/fn/rows_u/e",
            Json(json!({ "args": {}, "scheduling": { "language": "none" } })),
            200,
            data(json!(1)),
        ),
        row("POST /v1/fn/rows_u/e", Json(json!({ "scheduling": null })), 200, data(json!(1))),
        row(
            "POST /v1/fn/rows_u/e",
            Json(json!({ "scheduling": { "language": "app", "script": "rows_none" } })),
            404,
            Has(json!({ "errors": {} })),
        ),
        row(
            "POST /v1/fn/rows_u/e",
            Json(json!({ "scheduling": { "language": "app" } })),
            400,
            Has(json!({})),
        ),
        row("DELETE /v1/fn/rows_u/none", NoBody, 404, detail("Not Found")),
        row("DELETE /v1/fn/rows_u/e", NoBody, 204, Nothing),
        row("DELETE /v1/fn/rows_u", NoBody, 204, Nothing),
        row("GET /v1/fn/rows_u/g", NoBody, 404, detail("Not Found")),
    ];
    check(&user, rows).await;
}

/// The script that the case creates, as the scheduler parses it.
fn parsed(script: &str) -> Value {
    let block = json!({
        "workers": "*",
        "strategy": "best-first",
        "invalidate": { "capacity_used": "infinity", "max_concurrent_invocations": "infinity" },
        "affinity": { "affinity": [], "antiaffinity": [] },
    });
    json!({ "content": script, "tags": { "default": { "blocks": [block], "followup": "fail" } } })
}

pub async fn scripts(mesh: &Mesh) {
    let script = "- default:\n    - workers: \"*\"\n";
    let file =
        |name: &str, script: &str| Form(Upload::default().text("name", name).file("file", script.as_bytes()));
    let named = |name: &str| file(name, script);
    let shown = || json!({ "name": "rows_s", "owner": "guest", "content": script, "script": parsed(script) });
    let mut created = shown();
    created["warnings"] = json!([]);
    let lint = |content: &str| Json(json!({ "content": content }));
    let rows = vec![
        row("POST /v1/scripts/app", named("rows_s"), 201, data(created)),
        row("POST /v1/scripts/app", named("rows_s"), 422, refused("name", TAKEN)),
        row("POST /v1/scripts/app", named("a/b"), 422, refused("name", SLASHES)),
        row("POST /v1/scripts/app", file("rows_t", ""), 422, refused("file", "can't be blank")),
        row("POST /v1/scripts/app", file("rows_t", "- default:"), 422, Has(json!({ "errors": {} }))),
        row("POST /v1/scripts/app", Form(Upload::default().text("name", "x")), 400, detail("Bad Request")),
        row("GET /v1/scripts/app/rows_s", NoBody, 200, data(shown())),
        row("GET /v1/scripts/app/rows_none", NoBody, 404, Has(json!({ "errors": {} }))),
        row("POST /v1/app/lint", lint(script), 200, data(json!({ "errors": [], "warnings": [] }))),
        row(
            "POST /v1/app/lint",
            lint("- t:\n    - workers: [nobody]\n"),
            200,
            Has(json!({
                "data": { "errors": [], "warnings": [{ "kind": "unknown_worker", "tag": "t", "line": 2 }] },
            })),
        ),
        row(
            "POST /v1/app/lint",
            lint("- t:\n"),
            200,
            Has(json!({ "data": { "errors": [{ "kind": "no_blocks", "tag": "t" }], "warnings": [] } })),
        ),
        row("POST /v1/app/lint", Json(json!({})), 400, Has(json!({ "errors": {} }))),
        row("GET /v1/scripts/app/rows_s/explain", NoBody, 400, Has(json!({ "errors": {} }))),
        row("GET /v1/scripts/app/rows_s/explain?function=rows_none/f", NoBody, 404, detail("Not Found")),
        row("GET /v1/scripts/app/rows_s/explain?decision=none", NoBody, 404, Has(json!({ "errors": {} }))),
        row("GET /v1/decisions/none", NoBody, 404, Has(json!({ "errors": {} }))),
        row("GET /v1/decisions?limit=0", NoBody, 400, Has(json!({ "errors": {} }))),
    ];
    let user = mesh.user();
    check(&user, rows).await;
    // Scripts are shared, so the list may contain scripts of other cases.
    let listed = user.get("/v1/scripts/app").await.expect(200).json();
    let listed = listed["data"].as_array().expect("a list").clone();
    assert!(listed.contains(&shown()), "{listed:?}");
    let rows = vec![
        row("DELETE /v1/scripts/app/rows_none", NoBody, 404, Has(json!({ "errors": {} }))),
        row("DELETE /v1/scripts/app/rows_s", NoBody, 204, Nothing),
        row("GET /v1/scripts/app/rows_s", NoBody, 404, Has(json!({ "errors": {} }))),
    ];
    check(&user, rows).await;
}

pub async fn subjects(mesh: &Mesh) {
    let subject = |name: &str| Json(json!({ "subject": { "name": name } }));
    let rows = vec![
        row("POST /v1/admin/subjects", subject("rows_p"), 201, Has(json!({ "data": { "name": "rows_p" } }))),
        row("POST /v1/admin/subjects", subject("rows_p"), 422, refused("name", TAKEN)),
        row("POST /v1/admin/subjects", subject("a.b"), 422, refused("name", CHARACTERS)),
        row("POST /v1/admin/subjects", Json(json!({})), 400, detail("Bad Request")),
    ];
    check(&mesh.admin(), rows).await;
    let listed = mesh.admin().get("/v1/admin/subjects").await.expect(200).json();
    let listed = listed["data"].as_array().expect("a list").clone();
    assert!(listed.contains(&json!({ "name": "rows_p" })), "{listed:?}");
    // Only administrators may use the administration routes.
    for user in [mesh.user(), mesh.nobody()] {
        let rows = vec![
            row("GET /v1/admin/subjects", NoBody, 401, detail("Unauthorized")),
            row("POST /v1/admin/subjects", subject("rows_q"), 401, detail("Unauthorized")),
        ];
        check(&user, rows).await;
    }
}

pub async fn routes_and_tokens(mesh: &Mesh) {
    let health = mesh.nobody().get("/v1/").await.expect(200);
    assert!(health.text.contains("running"), "{}", health.text);
    let routes = [
        "GET /v1/fn",
        "POST /v1/fn",
        "GET /v1/fn/_",
        "PUT /v1/fn/_",
        "DELETE /v1/fn/_",
        "POST /v1/fn/_",
        "GET /v1/fn/_/f",
        "PUT /v1/fn/_/f",
        "DELETE /v1/fn/_/f",
        "POST /v1/fn/_/f",
        "GET /v1/scripts/app",
        "POST /v1/scripts/app",
        "GET /v1/scripts/app/s",
        "DELETE /v1/scripts/app/s",
        "GET /v1/scripts/app/s/explain",
        "POST /v1/app/lint",
        "GET /v1/decisions",
        "GET /v1/decisions/d",
        "GET /v1/admin/workers",
        "GET /v1/admin/subjects",
        "POST /v1/admin/subjects",
    ];
    for user in [mesh.nobody(), mesh.user().with_token(Some("nonsense")), mesh.user().with_token(Some(""))] {
        let rows = routes.map(|route| row(route, NoBody, 401, detail("Unauthorized")));
        check(&user, rows.into()).await;
    }
    let basic = mesh.nobody().request(Method::GET, "/v1/fn").header("authorization", "Basic eDp5");
    mesh.nobody().send(basic).await.expect(401);
    let unknown = ["GET /v1/nothing", "GET /v2/fn", "GET /", "DELETE /v1/fn/a/b/c"];
    check(&mesh.nobody(), unknown.map(|route| row(route, NoBody, 404, detail("Not Found"))).into()).await;

    let request = mesh.user().request(Method::GET, "/v1/fn").header("x-request-id", "mine");
    assert_eq!(request_id(&mesh.user().send(request).await), "mine");
    assert!(!request_id(&mesh.user().get("/v1/fn").await).is_empty());
}

fn request_id(answer: &Answer) -> String {
    let id = answer.headers.get("x-request-id").unwrap_or_else(|| panic!("{} has no id", answer.to));
    id.to_str().expect("ASCII").to_owned()
}

pub async fn documentation(mesh: &Mesh) {
    let document = mesh.nobody().get("/v1/openapi.json").await.expect(200).json();
    assert!(document["openapi"].as_str().is_some_and(|version| version.starts_with("3.1")), "{document}");
    for path in ["/v1/fn", "/v1/fn/{module}", "/v1/fn/{module}/{function}", "/v1/scripts/app"] {
        assert!(document["paths"].get(path).is_some(), "{path} is not documented");
    }
    let page = mesh.nobody().get("/docs").await;
    assert!(page.status == 200 && page.text.contains("<html"), "{} {}", page.status, page.text);
}
