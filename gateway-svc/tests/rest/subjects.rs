use serde_json::{Value, json};

use super::{ALPHANUMERIC, data, detail, refused};
use crate::support::http::{Body, Row};
use crate::support::{ANN, Mesh, ROOT};

fn row(method: &'static str, path: &'static str, body: &'static str, status: u16, answer: Value) -> Row {
    let body = if body.is_empty() { Body::None } else { Body::Json(body) };
    Row { ask: (method, path), body, status, answer }
}

#[tokio::test]
async fn subjects_are_created_listed_and_deleted() {
    let mesh = Mesh::start().await;
    let path = "/v1/admin/subjects";
    let created = data(json!({"name": "bob", "token": "token-of-bob"}));
    let listed = |names: &[&str]| data(names.iter().map(|name| json!({"name": name})).collect());
    mesh.walk(
        ROOT,
        [
            row("GET", path, "", 200, listed(&["ann", "root"])),
            row("POST", path, r#"{"subject":{"name":"bob"}}"#, 201, created),
            row("GET", path, "", 200, listed(&["ann", "bob", "root"])),
            row(
                "POST",
                path,
                r#"{"subject":{"name":"bob"}}"#,
                422,
                refused("name", "has already been taken"),
            ),
            row("POST", path, r#"{"subject":{"name":"a b"}}"#, 422, refused("name", ALPHANUMERIC)),
            row("POST", path, r#"{"subject":{"name":null}}"#, 422, refused("name", "can't be blank")),
            row("POST", path, r#"{"subject":{}}"#, 422, refused("name", "can't be blank")),
            row("POST", path, r#"{"subject":{"name":1}}"#, 422, refused("name", "is invalid")),
            row("POST", path, r#"{"subject":1}"#, 400, detail("Bad Request")),
            row("POST", path, r#"{"name":"x"}"#, 400, detail("Bad Request")),
            row("DELETE", "/v1/admin/subjects/bob", "", 204, Value::Null),
            row("DELETE", "/v1/admin/subjects/bob", "", 404, detail("Not Found")),
        ],
    )
    .await;
}

#[tokio::test]
async fn only_administrators_manage_subjects() {
    let mesh = Mesh::start().await;
    let unauthorized = detail("Unauthorized");
    mesh.walk(
        ANN,
        [
            row("GET", "/v1/admin/subjects", "", 401, unauthorized.clone()),
            row("POST", "/v1/admin/subjects", r#"{"subject":{"name":"eve"}}"#, 401, unauthorized.clone()),
            row("DELETE", "/v1/admin/subjects/ann", "", 401, unauthorized),
        ],
    )
    .await;
    let answer = mesh.ask_as(ROOT, "GET", "/v1/fn", Body::None).await;
    assert_eq!(answer.status, 200, "an administrator's token is valid for the other routes, too");
}
