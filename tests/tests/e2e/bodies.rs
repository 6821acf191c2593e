//! Bodies of invocations: invalid, deeply nested and huge ones.

use tests::{Mesh, guests};

const JSON: &str = "application/json";

pub async fn bodies_that_are_refused(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("bodies").await;
    user.create_function("bodies", "f", &guests::mirror()).await;
    let path = "/v1/fn/bodies/f";
    let broken: [&[u8]; 10] = [
        b"{",
        b"nonsense",
        b"{\"args\":}",
        b"{\"args\":1,}",
        b"{\"args\":1} x",
        b"[1]",
        b"7",
        b"null",
        b"{\"args\":\"\xff\"}",
        b"{\"args\":{},\"scheduling\":{\"language\":\"perl\"}}",
    ];
    for body in broken {
        let answer = user.post_text(path, JSON, body).await.expect(400);
        let words = String::from_utf8_lossy(body);
        assert!(answer.json()["errors"]["detail"].is_string(), "{words}: {}", answer.text);
    }
    user.post_text(path, "text/plain", "{}").await.expect(415);
    user.post_text(path, "application/vnd.api+json", "{}").await.expect(200);
    let huge = format!("{{\"args\":\"{}\"}}", "a".repeat(20 << 20));
    user.post_text(path, JSON, huge).await.expect(413);
    user.delete("/v1/fn/bodies").await.expect(204);
}

pub async fn deep_and_large_arguments(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("deep").await;
    user.create_function("deep", "f", &guests::mirror()).await;
    // The mesh does not parse the arguments into a tree, so their depth does not matter to it. A refusal is
    // acceptable; a crash is not.
    for (open, close) in [("[", "]"), ("{\"a\":", "}")] {
        let inner = if open == "[" { "" } else { "1" };
        let deep = format!("{}{inner}{}", open.repeat(10_000), close.repeat(10_000));
        let answer = user.invoke_raw("deep", "f", &deep).await;
        assert!(matches!(answer.status, 200 | 400), "{} {}", answer.status, answer.text);
    }
    let large = format!("\"{}\"", "a".repeat(5 << 20));
    let answer = user.invoke_raw("deep", "f", &large).await.expect(200);
    assert_eq!(answer.text.len(), large.len() + r#"{"data":}"#.len());
    assert_eq!(user.invoke_raw("deep", "f", "1").await.expect(200).text, r#"{"data":1}"#);
    user.delete("/v1/fn/deep").await.expect(204);
}
