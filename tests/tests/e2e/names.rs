//! Names in bodies and in paths.

use serde_json::{Value, json};
use tests::client::Upload;
use tests::{Mesh, guests};

const CHARACTERS: &str = "must contain only alphanumeric characters and underscores";

pub async fn names_that_are_refused(mesh: &Mesh) {
    let (user, admin) = (mesh.user(), mesh.admin());
    user.create_module("names").await;
    let long = "a".repeat(161);
    let cases = [
        (json!("a.b"), CHARACTERS),
        (json!("a/b"), CHARACTERS),
        (json!("../etc"), CHARACTERS),
        (json!("caffè"), CHARACTERS),
        (json!("👋"), CHARACTERS),
        (json!("name\n"), CHARACTERS),
        (json!("a b"), CHARACTERS),
        (json!("a\u{0}b"), CHARACTERS),
        (json!(long), "should be at most 160 character(s)"),
        (json!(""), "can't be blank"),
        (json!("  "), "can't be blank"),
        (Value::Null, "can't be blank"),
        (json!(7), "is invalid"),
        (json!(["a"]), "is invalid"),
    ];
    for (name, message) in cases {
        let expected = json!({ "errors": { "name": [message] } });
        let module = user.post("/v1/fn", &json!({ "module": { "name": name } })).await.expect(422);
        assert_eq!(module.json(), expected, "module {name}");
        let subject =
            admin.post("/v1/admin/subjects", &json!({ "subject": { "name": name } })).await.expect(422);
        assert_eq!(subject.json(), expected, "subject {name}");
        let Some(name) = name.as_str() else { continue };
        let function = Upload::function(name, &guests::responding(b"1"));
        let function = user.post_form("/v1/fn/names", function).await.expect(422);
        assert_eq!(function.json(), expected, "function {name:?}");
    }
    user.delete("/v1/fn/names").await.expect(204);
}

pub async fn paths_that_name_nothing(mesh: &Mesh) {
    let user = mesh.user();
    let long = "a".repeat(161);
    let names =
        ["a.b", "a%2Fb", "caff%C3%A8", "%F0%9F%91%8B", "%00", "%FF", "a%20b", long.as_str(), "%2e%2e%2f"];
    for name in names {
        for path in [format!("/v1/fn/{name}"), format!("/v1/fn/_/{name}")] {
            user.get(&path).await.expect(404);
            user.delete(&path).await.expect(404);
        }
        user.post(&format!("/v1/fn/_/{name}"), &json!({})).await.expect(404);
        let body = Upload::function("f", &guests::responding(b"1"));
        user.post_form(&format!("/v1/fn/{name}"), body).await.expect(404);
    }
}

pub async fn the_longest_name_works(mesh: &Mesh) {
    let user = mesh.user();
    let (module, function) = ("M_".repeat(80), "f9".repeat(80));
    user.create_module(&module).await;
    user.create_function(&module, &function, &guests::responding(b"1")).await;
    assert_eq!(user.result(&module, &function, json!({})).await, json!(1));
    user.delete(&format!("/v1/fn/{module}")).await.expect(204);
}
