//! The documentation: it loads nothing from other hosts, and its examples work.

mod schema;

use std::collections::BTreeMap;
use std::process::Stdio;

use proto::registry::v1::BindingRole;
use proto::scheduler::v1::Explanation;
use serde_json::{Value, json};
use tokio::process::Command;

use super::WASM;
use crate::support::http::{Answer, send};
use crate::support::{ANN, Mesh, ROOT};

const METHODS: [&str; 4] = ["get", "put", "post", "delete"];

/// All operations of the document by id, with method and path.
fn operations(document: &Value) -> BTreeMap<String, (String, String, Value)> {
    let mut operations = BTreeMap::new();
    for (path, item) in document["paths"].as_object().expect("paths") {
        for method in METHODS {
            if let Some(operation) = item.get(method) {
                let id = operation["operationId"].as_str().expect("an id").to_owned();
                let known = operations.insert(id, (method.to_owned(), path.clone(), operation.clone()));
                assert_eq!(known, None, "operation ids are unique");
            }
        }
    }
    operations
}

fn document() -> Value {
    serde_json::to_value(gateway_svc::openapi()).expect("serializable")
}

/// The first successful response, and its status.
fn success(operation: &Value) -> (u16, &Value) {
    let mut responses = operation["responses"].as_object().expect("responses").iter();
    let (status, response) = responses.find(|(status, _)| status.starts_with('2')).expect("a success");
    (status.parse().expect("a status"), response)
}

fn curl_line(operation: &Value) -> &str {
    let description = operation["description"].as_str().unwrap_or_default();
    let line = description.split("```sh\n").nth(1).and_then(|rest| rest.split("\n```").next());
    line.unwrap_or_else(|| panic!("{} has no curl line", operation["operationId"]))
}

#[tokio::test]
async fn the_viewer_loads_nothing_from_other_hosts() {
    let mesh = Mesh::start().await;
    let get = async |path: &str| {
        let answer = send(mesh.anonymous("GET", path)).await;
        assert_eq!(answer.status, 200, "{path}");
        let policy = answer.header("content-security-policy").expect("a policy").to_owned();
        assert!(policy.starts_with("default-src 'none'; script-src 'self';"), "{policy}");
        assert!(policy.contains("connect-src 'self'"), "{policy}");
        assert!(!policy.contains("http") && !policy.contains('*') && !policy.contains("eval"), "{policy}");
        assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{path}");
        answer
    };
    for path in ["/docs", "/docs/"] {
        let page = get(path).await;
        assert!(page.header("content-type").is_some_and(|value| value.starts_with("text/html")));
        assert!(!page.text.contains("//"), "the page contains a host: {}", page.text);
        let files: Vec<&str> =
            page.text.split("\"/docs/").skip(1).filter_map(|rest| rest.split('"').next()).collect();
        assert_eq!(files.len(), page.text.matches("src=").count() + page.text.matches("href=").count());
        for file in files {
            let answer = get(&format!("/docs/{file}")).await;
            let expected = match file.rsplit('.').next() {
                Some("js") => "javascript",
                Some("css") => "text/css",
                _ => "image/png",
            };
            let content_type = answer.header("content-type").unwrap_or_default();
            assert!(content_type.contains(expected), "{file}: {content_type}");
        }
    }
    let start = get("/docs/swagger-initializer.js").await.text;
    assert!(start.contains(r#""url": "/v1/openapi.json""#), "{start}");
    assert!(start.contains(r#""validatorUrl": "none""#), "{start}");
    assert!(!start.contains("://"), "{start}");
    for none in ["/docs/nope.js", "/docs/..%2Findex.html", "/docs/a/b"] {
        assert_eq!(send(mesh.anonymous("GET", none)).await.status, 404, "{none}");
    }
}

#[test]
fn every_operation_has_examples_and_a_curl_line() {
    let document = document();
    let operations = operations(&document);
    assert!(operations.len() >= 34, "{} operations", operations.len());
    for (id, (method, path, operation)) in &operations {
        let summary = operation["summary"].as_str().expect("a summary");
        assert!(!summary.contains('`'), "{id}: a summary is not Markdown: {summary}");
        let line = curl_line(operation);
        let parts: Vec<&str> = path.split(['{', '}']).step_by(2).filter(|part| part.len() > 1).collect();
        assert!(line.starts_with("curl ") && parts.iter().all(|part| line.contains(part)), "{id}: {line}");
        assert!(
            *method == "get" || *method == "post" || line.contains(&method.to_uppercase()),
            "{id}: {line}"
        );
        let bodies = [&operation["requestBody"]["content"], &success(operation).1["content"]];
        for (media_type, content) in bodies.into_iter().filter_map(Value::as_object).flatten() {
            assert!(content.get("example").is_some(), "{id}: {media_type} has no example");
        }
        for parameter in operation["parameters"].as_array().into_iter().flatten() {
            let needs = parameter["in"] == "path";
            assert!(!needs || parameter.get("example").is_some(), "{id}: {parameter}");
        }
    }
}

#[test]
fn examples_match_their_schemas() {
    let document = document();
    let mut checked = 0;
    let check = |id: &str, content: &Value| {
        for (media_type, content) in content.as_object().into_iter().flatten() {
            let Some(schema) = content.get("schema") else { continue };
            // The JSON examples do not contain the files of a form.
            if let Err(wrong) = schema::check(&document, schema, &content["example"]) {
                let of_file = media_type == "multipart/form-data" && wrong.contains("is missing");
                assert!(of_file, "{id}: {wrong}");
            }
        }
    };
    for (id, (_, _, operation)) in &operations(&document) {
        check(id, &operation["requestBody"]["content"]);
        check(id, &success(operation).1["content"]);
        checked += 1;
    }
    for (name, response) in document["components"]["responses"].as_object().expect("shared responses") {
        check(name, &response["content"]);
    }
    assert!(checked >= 34);
}

#[test]
fn shared_errors_are_described_once() {
    let document = document();
    let shared = document["components"]["responses"].as_object().expect("shared responses");
    let names: Vec<&str> = shared.keys().map(String::as_str).collect();
    let expected = [
        "GatewayTimeout",
        "InternalServerError",
        "PayloadTooLarge",
        "RequestTimeout",
        "ServiceUnavailable",
        "TooManyRequests",
        "Unauthorized",
        "UnsupportedMediaType",
    ];
    assert_eq!(names, expected);
    for (id, (_, _, operation)) in &operations(&document) {
        for status in ["401", "429", "500", "503", "504"] {
            let Some(response) = operation["responses"].get(status) else {
                assert_eq!(id, "health");
                continue;
            };
            let reference = response["$ref"].as_str().unwrap_or_default();
            let name = reference.strip_prefix("#/components/responses/").unwrap_or_default();
            assert!(shared.contains_key(name), "{id}: {status}: {response}");
        }
        let repeated = |(_, response): &(&String, &Value)| shared.values().any(|known| known == *response);
        assert_eq!(
            operation["responses"].as_object().expect("responses").iter().find(repeated),
            None,
            "{id}"
        );
    }
}

/// A mesh with all resources that the examples use.
async fn mesh_of_the_examples(operation: &str) -> Mesh {
    let mesh = Mesh::start().await;
    let part = |name: &str, value: &str| (name.to_owned(), value.to_owned());
    let upload = |path: &str, parts: Vec<(String, String)>| {
        let parts: Vec<(&str, &str)> =
            parts.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        send(mesh.request("POST", path).multipart(crate::support::http::form(&parts)))
    };
    if operation != "create_module" {
        let body = r#"{"module":{"name":"shop"}}"#;
        send(mesh.request("POST", "/v1/fn").header("content-type", "application/json").body(body)).await;
        if operation != "create_function" {
            let parts = vec![
                part("name", "welcome"),
                part("code", WASM),
                part("events", r#"[{"type":"mqtt","params":{}}]"#),
                part("sinks", r#"[{"type":"couchdb","params":{}}]"#),
            ];
            assert_eq!(upload("/v1/fn/shop", parts).await.status, 201);
        }
    }
    if operation != "create_script" {
        let parts = vec![part("name", "busy"), part("file", "- default:\n  - workers: '*'\n")];
        assert_eq!(upload("/v1/scripts/app", parts).await.status, 201);
    }
    if operation == "delete_subject" {
        let body = r#"{"subject":{"name":"bea"}}"#;
        let request = mesh.anonymous("POST", "/v1/admin/subjects").bearer_auth(ROOT);
        send(request.header("content-type", "application/json").body(body)).await;
    }
    mesh.connector.letters.put(1, BindingRole::Event, "ann", "{}");
    let past = Explanation { decision_id: "5de511aa2397-0".into(), ..Explanation::default() };
    mesh.scheduler.policies.state.lock().past.push(past);
    mesh
}

/// Runs a curl line against this mesh.
async fn run(mesh: &Mesh, line: &str) -> Answer {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::create_dir(folder.path().join("guest")).expect("a folder");
    std::fs::write(folder.path().join("guest/hello.wasm"), WASM).expect("written");
    std::fs::write(folder.path().join("busy.yml"), "- default:\n  - workers: '*'\n").expect("written");
    let line = line.replace("http://127.0.0.1:4000", &mesh.rest.endpoint.to_string());
    let line = line.replacen("curl ", r"curl -sS --noproxy '*' -w '\n%{http_code}' ", 1);
    let mut shell = Command::new("sh");
    shell.args(["-c", &line]).current_dir(folder.path()).env("TOKEN", ANN).env("ADMIN_TOKEN", ROOT);
    let output = shell.stdin(Stdio::null()).output().await.expect("sh and curl are installed");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    let (text, status) = text.rsplit_once('\n').unwrap_or_else(|| panic!("{line}: {:?}", output.stderr));
    Answer { status: status.parse().expect("a status"), headers: Default::default(), text: text.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_curl_line_has_the_documented_response() {
    let document = document();
    for (id, (_, _, operation)) in &operations(&document) {
        let mesh = mesh_of_the_examples(id).await;
        let answer = run(&mesh, curl_line(operation)).await;
        let (mut expected, response) = success(operation);
        match id.as_str() {
            // The fake scheduler explains only another function, and simulates nothing.
            "explain_script" => expected = 404,
            "simulate" => expected = 500,
            _ => {}
        }
        assert_eq!(answer.status, expected, "{id}: {} {answer:?}", curl_line(operation));
        let schema = &response["content"]["application/json"]["schema"];
        if answer.status < 300 && !schema.is_null() {
            let body = answer.json();
            let checked = schema::check(&document, schema, &body);
            assert_eq!(checked, Ok(()), "{id}: {body}");
        }
    }
}

#[test]
fn the_schema_check_refuses_other_values() {
    let document = json!({"components": {"schemas": {"Name": {"type": "string", "enum": ["a"]}}}});
    let schema = json!({
        "type": "object",
        "required": ["name"],
        "properties": {"name": {"$ref": "#/components/schemas/Name"}, "ages": {"type": ["array", "null"], "items": {"type": "integer"}}},
    });
    for (value, valid) in [
        (json!({"name": "a"}), true),
        (json!({"name": "a", "ages": [1]}), true),
        (json!({"name": "a", "ages": null}), true),
        (json!({"name": "b"}), false),
        (json!({"ages": [1]}), false),
        (json!({"name": "a", "ages": ["x"]}), false),
        (json!({"name": "a", "other": 1}), false),
        (json!([]), false),
    ] {
        assert_eq!(schema::check(&document, &schema, &value).is_ok(), valid, "{value}");
    }
}
