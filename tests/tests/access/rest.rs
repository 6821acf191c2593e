//! Calls to the REST API.

use std::collections::BTreeSet;

use http::Method;
use serde_json::{Value, json};
use tests::client::Upload;
use tests::{Client, Mesh, guests};

use crate::Outcome;
use crate::scene::{SCRIPT, Scene};
use crate::table::Row;

/// The routes that a mesh serves, such as `GET /v1/fn/{module}`.
pub async fn served(mesh: &Mesh) -> BTreeSet<String> {
    let document = mesh.nobody().get("/v1/openapi.json").await.expect(200).json();
    let paths = document["paths"].as_object().expect("paths");
    let routes = paths.iter().flat_map(|(path, methods)| {
        let methods = methods.as_object().expect("methods").keys();
        methods.map(move |method| format!("{} {path}", method.to_uppercase()))
    });
    routes.collect()
}

/// Calls the route of a row.
pub async fn call(client: &Client, row: &Row, scene: &Scene) -> Outcome {
    let route = row.rest.as_deref().expect("a route");
    let (method, template) = route.split_once(' ').expect("METHOD /path");
    let method: Method = method.parse().expect("a method");
    let mut path = template.to_owned();
    for (name, value) in [
        ("{module}", &scene.module),
        ("{function}", &scene.function),
        ("{script}", &scene.script),
        ("{subject}", &scene.subject),
        ("{decision}", &scene.decision),
        ("{id}", &scene.letter),
    ] {
        path = path.replace(name, value);
    }
    path.push_str(&query(route, scene));
    let request = client.request(method, &path);
    let answer = match form(route, row, scene) {
        Some(upload) if route.starts_with("PUT") => client.put_form(&path, upload).await,
        Some(upload) => client.post_form(&path, upload).await,
        None => match json_body(route, scene) {
            Some(body) => client.send(request.json(&body)).await,
            None => client.send(request).await,
        },
    };
    if answer.status < 300 {
        return Ok(answer.text);
    }
    let body: Value = serde_json::from_str(&answer.text).unwrap_or_default();
    let reason = body["errors"]["reason"].as_str().map(str::to_owned);
    Err(reason.unwrap_or_else(|| match answer.status {
        401 => "UNAUTHENTICATED".to_owned(),
        status => format!("{status} {}", answer.text),
    }))
}

fn query(route: &str, scene: &Scene) -> String {
    let Scene { module, function, decision, .. } = scene;
    match route {
        "GET /v1/scripts/app/{script}/explain" => format!("?decision={decision}"),
        "GET /v1/dead-letters" | "DELETE /v1/dead-letters" => format!("?module={module}&function={function}"),
        _ => String::new(),
    }
}

fn form(route: &str, row: &Row, scene: &Scene) -> Option<Upload> {
    let code = guests::responding(b"2");
    Some(match (route, row.action.as_str()) {
        ("POST /v1/fn/{module}", "create") | ("PUT /v1/fn/{module}/{function}", _) => {
            Upload::function(&scene.function, &code)
        }
        ("POST /v1/scripts/app", _) => {
            Upload::default().text("name", &scene.script).file("file", SCRIPT.as_bytes())
        }
        _ => return None,
    })
}

fn json_body(route: &str, scene: &Scene) -> Option<Value> {
    let Scene { module, function, script, subject, marker, .. } = scene;
    Some(match route {
        "POST /v1/fn" => json!({ "module": { "name": module } }),
        "PUT /v1/fn/{module}" => json!({ "module": { "name": format!("{marker}renamed") } }),
        "POST /v1/fn/{module}/{function}" => json!({ "args": {} }),
        "POST /v1/admin/subjects" => json!({ "subject": { "name": subject } }),
        "POST /v1/app/lint" => json!({ "content": SCRIPT }),
        "POST /v1/app/simulate" => json!({ "script": script, "workers": [{ "name": "w" }], "load": [] }),
        "POST /v1/dead-letters/redrive" => json!({ "module": module, "function": function }),
        _ => return None,
    })
}
