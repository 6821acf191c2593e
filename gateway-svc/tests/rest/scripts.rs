use serde_json::{Value, json};

use super::{ALPHANUMERIC, data, detail, refused};
use crate::support::http::{Body, Row, send};
use crate::support::{ANN, Mesh};

const PATH: &str = "/v1/scripts/app";
const YAML: &str = "- default:\n  - workers: '*'\n";

fn script(name: &str) -> Value {
    json!({"name": name, "content": YAML, "script": {"content": YAML}})
}

fn row(method: &'static str, path: &'static str, body: Body, status: u16, answer: Value) -> Row {
    Row { ask: (method, path), body, status, answer }
}

#[tokio::test]
async fn the_table_of_scripts() {
    let mesh = Mesh::start().await;
    let create = |parts, status, answer| row("POST", PATH, Body::Form(parts), status, answer);
    mesh.walk(
        ANN,
        [
            row("GET", PATH, Body::None, 200, data(json!([]))),
            create(&[("name", "b"), ("file", YAML)], 201, data(script("b"))),
            create(&[("other", "x"), ("file", YAML), ("name", "a")], 201, data(script("a"))),
            row("GET", PATH, Body::None, 200, data(json!([script("a"), script("b")]))),
            row("GET", "/v1/scripts/app/a", Body::None, 200, data(script("a"))),
            row("GET", "/v1/scripts/app/c", Body::None, 404, detail("Not Found: there is no script c")),
            create(&[("name", "a"), ("file", YAML)], 422, refused("name", "has already been taken")),
            create(&[("name", "a-b"), ("file", YAML)], 422, refused("name", ALPHANUMERIC)),
            create(&[("name", ""), ("file", YAML)], 422, refused("name", "can't be blank")),
            create(&[("name", "c"), ("file", "")], 422, refused("file", "can't be blank")),
            create(&[("name", "c")], 400, detail("Bad Request")),
            create(&[("file", YAML)], 400, detail("Bad Request")),
            row("POST", PATH, Body::Json("{}"), 400, detail("Bad Request")),
            row("POST", PATH, Body::None, 400, detail("Bad Request")),
            row("DELETE", "/v1/scripts/app/a", Body::None, 204, Value::Null),
            row("DELETE", "/v1/scripts/app/a", Body::None, 404, detail("Not Found: there is no script a")),
        ],
    )
    .await;
}

#[tokio::test]
async fn a_script_is_text_and_not_endless() {
    let mesh = Mesh::start().await;
    let upload = async |file: Vec<u8>| {
        let form = reqwest::multipart::Form::new().text("name", "s");
        let form = form.part("file", reqwest::multipart::Part::bytes(file).file_name("s.yml"));
        send(mesh.request("POST", PATH).multipart(form)).await
    };
    let answer = upload(vec![b'-', 0xff]).await;
    assert_eq!((answer.status, answer.json()), (422, refused("file", "is not UTF-8 text")));
    assert_eq!(upload(vec![b'#'; (1 << 20) + 1]).await.status, 413);
}
