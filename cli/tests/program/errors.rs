//! Every error says what happened and what to do next.

use super::support::{Fake, Home, answer};

#[tokio::test(flavor = "multi_thread")]
async fn errors_without_a_mesh() {
    let home = Home::new();
    home.write("text.wasm", "text");
    home.write("empty/README", "");
    home.write("typo/function.toml", "nam = \"f\"\n");
    home.write("blank/config", "api_host=\napi_token=\n");
    let mut all = String::new();
    for line in [
        "mod list",
        "--config blank/config mod list",
        "--host 127.0.0.1:1 mod list",
        "--host 127.0.0.1:1 --token t mod list",
        "--host http://nobody.invalid:4000 --token t mod list",
        "--host ftp://127.0.0.1 --token t mod list",
        "--host ::: --token t mod list",
        "--host 127.0.0.1:1 --token t fn upload f none.wasm",
        "--host 127.0.0.1:1 --token t fn upload f text.wasm",
        "--host 127.0.0.1:1 --token t fn upload m/f text.wasm -m n",
        "--host 127.0.0.1:1 --token t fn upload f text.wasm --events {}",
        "--host 127.0.0.1:1 --token t fn invoke f -a {",
        "--host 127.0.0.1:1 --token t script create s none.yml",
        "--host 127.0.0.1:1 --token t dead-letters purge 1 --module m",
        "--host 127.0.0.1:1 --token t apply -f none",
        "--host 127.0.0.1:1 --token t apply -f empty",
        "--host 127.0.0.1:1 --token t apply -f typo",
        "--host 127.0.0.1:1 --token t apply -f typo/function.toml --prune",
        "--host 127.0.0.1:1 --token t status",
        "admin deploy docker down",
        "admin deploy kubernetes down --dir empty",
        "cfg set colour red",
        "mod lst",
        "mod create m -o json",
        "completions fish --host h",
        "workers --watch -q",
    ] {
        let printed = home.run(line).await;
        assert!(printed.code == Some(1) || printed.code == Some(2), "fl {line}: {printed}");
        assert_eq!(printed.out, "", "fl {line}: errors are no results");
        all.push_str(&format!("$ fl {line}\n{printed}\n"));
    }
    insta::assert_snapshot!(all);
}

/// What meshes answer instead of a success: status and body, and a command that gets it.
const REFUSALS: [(u16, &str, &str); 17] = [
    (
        401,
        r#"{"errors":{"detail":"Unauthorized","message":"expected a token","reason":"UNAUTHENTICATED"}}"#,
        "mod list",
    ),
    (401, r#"{"errors":{"detail":"Unauthorized"}}"#, "workers"),
    (
        403,
        r#"{"errors":{"detail":"Forbidden","message":"it belongs to another subject","reason":"PERMISSION_DENIED"}}"#,
        "script delete s",
    ),
    (
        404,
        r#"{"errors":{"detail":"Not Found","message":"no script \"s\"","reason":"SCRIPT_NOT_FOUND"}}"#,
        "fn invoke f --script s",
    ),
    (404, r#"{"errors":{"detail":"Not Found"}}"#, "status"),
    (404, r#"{"errors":{"detail":"Not Found"}}"#, "dead-letters show 1"),
    (408, r#"{"errors":{"detail":"Request Timeout"}}"#, "script list"),
    (
        409,
        r#"{"errors":{"detail":"Conflict","message":"script \"s\" is used by m/f","reason":"SCRIPT_IN_USE"}}"#,
        "script delete s",
    ),
    (409, r#"{"errors":{"detail":"Conflict"}}"#, "fn upload f f.wasm"),
    (422, r#"{"errors":{"name":["can't be blank"],"code":["is invalid"]}}"#, "fn upload f f.wasm"),
    (422, r#"{"errors":{"detail":"Error: no luck"}}"#, "fn invoke f"),
    (429, r#"{"errors":{"detail":"Too Many Requests","reason":"OVERLOADED"}}"#, "fn invoke f"),
    (
        500,
        r#"{"errors":{"detail":"Something went wrong: it trapped","reason":"GUEST_TRAPPED"}}"#,
        "fn invoke f",
    ),
    (503, r#"{"errors":{"detail":"No worker available","reason":"NO_WORKER"}}"#, "fn invoke f"),
    (
        504,
        r#"{"errors":{"detail":"Gateway Timeout","message":"the deadline has passed","reason":"DEADLINE_EXCEEDED"}}"#,
        "fn invoke f",
    ),
    (502, "<html>Bad Gateway</html>", "mod list"),
    (200, "<html>Welcome</html>", "mod list"),
];

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_a_mesh() {
    let home = Home::new();
    home.write("f.wasm", b"\0asm");
    let mut all = String::new();
    for (status, body, command) in REFUSALS {
        let printed = Fake::answering(status, body).await.run(&home, command).await;
        assert_eq!(printed.code, Some(1), "{printed}");
        assert!(printed.err.lines().last().is_some_and(|line| line.starts_with("fl: error: ")), "{printed}");
        all.push_str(&format!("{status} {body}\n$ fl {command}\n{printed}\n"));
    }
    insta::assert_snapshot!(all);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_exist_is_looked_for() {
    const NOT_FOUND: &str = r#"{"errors":{"detail":"Not Found"}}"#;
    let home = Home::new();
    let fake = Fake::start(|request| match (request.method().as_str(), request.uri().path()) {
        ("GET", "/v1/fn") => answer(200, r#"{"data":[{"name":"_"},{"name":"shop"}]}"#),
        ("GET", "/v1/fn/shop") => answer(200, r#"{"data":{"name":"shop","functions":[{"name":"welcome"}]}}"#),
        ("GET", "/v1/fn/_") => answer(200, r#"{"data":{"name":"_","functions":[]}}"#),
        ("GET", "/v1/scripts/app") => {
            answer(200, r#"{"data":[{"name":"near","owner":null,"content":"","script":{}}]}"#)
        }
        ("GET", "/v1/admin/subjects") => answer(200, r#"{"data":[{"name":"bea"}]}"#),
        _ => answer(404, NOT_FOUND),
    })
    .await;
    let mut all = String::new();
    for command in [
        "mod get shpo",
        "mod delete zzz",
        "fn get shop/welcom",
        "fn invoke shop/zzz",
        "fn logs wellcome",
        "events status shop/welcoome",
        "script get neer",
        "script delete zzz",
        "admin user rotate bee",
        "admin user delete zzz",
    ] {
        let printed = fake.run(&home, command).await;
        assert_eq!(printed.code, Some(1), "{printed}");
        all.push_str(&format!("$ fl {command}\n{printed}\n"));
    }
    insta::assert_snapshot!(all);
}

/// A token of a profile is told apart from one that is given.
#[tokio::test]
async fn a_refused_token_is_named() {
    let home = Home::new();
    let fake = Fake::answering(401, r#"{"errors":{"detail":"Unauthorized"}}"#).await;
    home.write(".fl/config", format!("api_host={}\napi_token=a\nadmin_token=b\n", fake.url));
    let mut all = String::new();
    for command in ["mod list", "admin user list"] {
        all.push_str(&format!("$ fl {command}\n{}\n", home.run(command).await));
    }
    insta::assert_snapshot!(all);
}
