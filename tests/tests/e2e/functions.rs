//! The life cycle of a function.

use axum::Router;
use axum::routing::post;
use http::Method;
use serde_json::{Value, json};
use tests::client::Upload;
use tests::process::repository;
use tests::{Mesh, guests};
use tokio::net::TcpListener;

pub async fn created_invoked_updated_deleted(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("life").await;
    let created =
        user.post_form("/v1/fn/life", Upload::function("hello", &guests::hello())).await.expect(201);
    assert_eq!(created.json()["data"]["name"], "hello");
    let answer = user.result("life", "hello", json!({ "name": "Ada" })).await;
    assert_eq!(answer, json!({ "payload": "Hello Ada!" }));

    user.update_function("life", "hello", &guests::echo()).await;
    assert_eq!(user.result("life", "hello", json!({ "name": "Ada" })).await, json!({ "name": "Ada" }));

    user.delete("/v1/fn/life/hello").await.expect(204);
    user.invoke("life", "hello", json!({})).await.expect(404);
    user.get("/v1/fn/life/hello").await.expect(404);
    user.create_function("life", "hello", &guests::hello()).await;
    assert_eq!(user.result("life", "hello", json!({ "name": "B" })).await, json!({ "payload": "Hello B!" }));
    user.delete("/v1/fn/life").await.expect(204);
}

/// With `curl`, as in the documentation.
pub async fn created_and_invoked_with_curl(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("curled").await;
    let (url, token) = (format!("{}/v1/fn/curled", mesh.rest_url()), user.token().expect("a token"));
    let curl = async |arguments: &[&str]| {
        let mut command = tokio::process::Command::new("curl");
        command.args(["-sS", "--noproxy", "*", "-w", "\n%{http_code}", "-H"]);
        command.arg(format!("Authorization: Bearer {token}")).args(arguments);
        let output = command.output().await.expect("failed to run curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let code = format!("code=@{}", repository().join("guest/hello.wasm").display());
    let created = curl(&["-F", "name=hello", "-F", &code, &url]).await;
    assert!(created.ends_with("\n201"), "{created}");
    let args = r#"{"args":{"name":"curl"}}"#;
    let invoked = curl(&["-H", "Content-Type: application/json", "-d", args, &format!("{url}/hello")]).await;
    assert_eq!(invoked, "{\"data\":{\"payload\":\"Hello curl!\"}}\n200");
    user.delete("/v1/fn/curled").await.expect(204);
}

/// 1,000 invocations between 20 updates: none of them runs the previous code.
pub async fn an_update_is_seen_by_the_next_invocation(mesh: &Mesh) {
    const UPDATES: u32 = 20;
    const INVOCATIONS: u32 = 50;
    let user = mesh.user();
    user.create_module("updated").await;
    user.create_function("updated", "f", &guests::responding(b"0")).await;
    for version in 1..=UPDATES {
        // Alternate between two versions, and use a new one every fourth time.
        let number = if version % 4 == 0 { version } else { version % 2 };
        user.update_function("updated", "f", &guests::responding(number.to_string().as_bytes())).await;
        for _ in 0..INVOCATIONS {
            assert_eq!(user.result("updated", "f", json!({})).await, json!(number), "after update {version}");
        }
    }
    user.delete("/v1/fn/updated").await.expect(204);
}

/// A revision that the registry has not given out is a mistake of the client, which is told at once.
pub async fn an_unknown_revision_is_refused_at_once(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("revised").await;
    user.create_function("revised", "f", &guests::responding(b"1")).await;
    for path in ["/v1/fn/revised/f", "/v1/fn/revised/f/logs"] {
        let method = if path.ends_with("logs") { Method::GET } else { Method::POST };
        let request = user.request(method, path).header("x-funless-revision", u64::MAX / 2);
        let started = std::time::Instant::now();
        let answer = user.send(request).await.expect(400).json();
        let message = answer["errors"]["message"].as_str().unwrap_or_default();
        assert!(message.contains("revision"), "{path}: {answer}");
        assert!(started.elapsed().as_secs() < 3, "{path}: it was not waited for");
    }
    user.delete("/v1/fn/revised").await.expect(204);
}

/// An update that is overtaken by another one does not wait for code that no worker will ever prepare.
pub async fn overlapping_updates_all_succeed(mesh: &Mesh) {
    const UPDATES: usize = 12;
    const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);
    let user = mesh.user();
    user.create_module("race").await;
    user.create_function("race", "f", &guests::responding(b"-1")).await;
    let codes: Vec<_> = (0..UPDATES).map(|n| guests::responding(n.to_string().as_bytes())).collect();
    let updates = codes.iter().map(|code| user.update_function("race", "f", code));
    tokio::time::timeout(LIMIT, futures::future::join_all(updates)).await.expect("all updates end in time");
    let last = user.result("race", "f", json!({})).await;
    assert!((0..UPDATES).any(|n| last == json!(n)), "{last}");
    user.delete("/v1/fn/race").await.expect(204);
}

pub async fn arguments_and_results_travel_byte_for_byte(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("bytes").await;
    user.create_function("bytes", "mirror", &guests::mirror()).await;
    let texts = [
        r#"{"b":1,"a":2}"#,
        r#"{"a":1,"a":2}"#,
        "123456789012345678901234567890",
        "1.50e+03",
        r#""\u00e9 é \ud83d\ude00""#,
        "[1, 2,\n 3]",
        "true",
        "0",
        r#""""#,
        "[]",
    ];
    for text in texts {
        let answer = user.invoke_raw("bytes", "mirror", text).await.expect(200);
        assert_eq!(answer.text, format!("{{\"data\":{text}}}"));
    }
    // Without arguments the input is an empty object.
    for body in ["", "{}", r#"{"args":null}"#, r#"{"other":1}"#] {
        let answer = user.post_text("/v1/fn/bytes/mirror", "application/json", body).await.expect(200);
        assert_eq!(answer.text, r#"{"data":{}}"#, "{body:?}");
    }
    user.delete("/v1/fn/bytes").await.expect(204);
}

pub async fn a_function_calls_the_web(mesh: &Mesh) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("a bound address"));
    let router = Router::new().route("/", post(async |body: String| format!("got {body}")));
    let server = tokio::spawn(async { axum::serve(listener, router).await });

    let user = mesh.user();
    user.create_module("web").await;
    user.create_function("web", "caller", &guests::http_caller()).await;
    let args = json!({ "url": url, "method": "POST", "body": "this" });
    assert_eq!(user.result("web", "caller", args).await, json!({ "status": 200, "body": "got this" }));
    let refused = user.result("web", "caller", json!({ "url": url })).await;
    assert_eq!(refused["status"], 405, "the server does not accept GET");
    server.abort();
    let _ = server.await;

    let gone = user.invoke("web", "caller", json!({ "url": url })).await.expect(422);
    assert!(gone.detail().contains("cannot be reached"), "{}", gone.text);
    user.delete("/v1/fn/web").await.expect(204);
}

/// It was not made for this platform.
pub async fn a_function_of_the_published_sdk_runs(mesh: &Mesh) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("a bound address"));
    let router = Router::new().route("/", post(async |body: String| format!("got {body}")));
    let server = tokio::spawn(async { axum::serve(listener, router).await });

    let user = mesh.user();
    user.create_module("published").await;
    user.create_function("published", "f", &guests::published_sdk()).await;
    let hello = user.result("published", "f", json!({ "name": "Ada" })).await;
    assert_eq!(hello, json!({ "payload": "Hello Ada!" }));
    let called = user.result("published", "f", json!({ "url": url })).await;
    assert_eq!(called, json!({ "status": 200, "body": "got this" }));
    let failed = user.invoke("published", "f", json!({})).await.expect(422);
    assert_eq!(failed.detail(), "Error: error while executing function: a \"name\" is needed, as text");
    server.abort();
    let _ = server.await;
    user.delete("/v1/fn/published").await.expect(204);
}

pub async fn a_function_does_not_reach_the_mesh(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("egress").await;
    user.create_function("egress", "caller", &guests::http_caller()).await;
    let mut urls = vec![format!("{}/v1/mod", mesh.rest_url()), mesh.grpc_url()];
    for admin in mesh.admin_addresses() {
        urls.push(format!("http://{admin}/log"));
        urls.push(format!("http://{}/log", admin.replace("127.0.0.1", "localhost")));
        urls.push(format!("http://{}/log", admin.replace("127.0.0.1", "2130706433")));
    }
    if mesh.admin_addresses().len() > 1 {
        urls.extend(mesh.services().into_values().map(|place| place.address));
    }
    for url in &urls {
        let args = json!({ "url": url, "method": "PUT", "body": "off" });
        let denied = user.invoke("egress", "caller", args).await.expect(422);
        assert!(denied.detail().contains("cannot be reached"), "{url}: {}", denied.text);
        let logs = user.get("/v1/fn/egress/caller/logs").await.expect(200);
        assert!(logs.text.contains("it is one of the mesh's own ports"), "{url}: {}", logs.text);
    }
    let pages = mesh.admin_addresses();
    let mut denied = 0.0;
    for admin in pages {
        let page = tests::client::http().get(format!("http://{admin}/metrics")).send().await.expect("a page");
        let page = page.text().await.expect("a text");
        let counters = page.lines().filter(|line| line.starts_with("funless_egress_denied_total{"));
        let counters = counters.filter(|line| line.contains("kind=\"function\""));
        denied += counters.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>();
    }
    assert!(denied >= urls.len() as f64, "{denied} of {} are counted", urls.len());
    user.delete("/v1/fn/egress").await.expect(204);
}

pub async fn a_functions_own_errors_are_its_callers(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("errors").await;
    user.create_function("errors", "hello", &guests::hello()).await;
    let answer = user.invoke("errors", "hello", json!({})).await.expect(422);
    assert_eq!(answer.detail(), "Error: invalid arguments: missing field `name` at line 1 column 1");
    for (name, code, detail) in [
        ("plain", guests::failing(b"no tea"), "Error: no tea"),
        ("silent", guests::returning(1), "Error: "),
        ("empty", guests::failing(b""), "Error: "),
        ("unicode", guests::failing("kein Töpfchen ☕".as_bytes()), "Error: kein Töpfchen ☕"),
    ] {
        user.create_function("errors", name, &code).await;
        let answer = user.invoke("errors", name, json!({})).await.expect(422);
        assert_eq!(answer.detail(), detail, "{name}");
    }
    user.delete("/v1/fn/errors").await.expect(204);
}

pub async fn instances_share_nothing(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("fresh").await;
    user.create_function("fresh", "count", &guests::counting()).await;
    for _ in 0..5 {
        assert_eq!(user.result("fresh", "count", Value::Null).await, json!(1));
    }
    user.delete("/v1/fn/fresh").await.expect(204);
}

pub async fn a_wasi_command_runs(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("wasi").await;
    user.create_function("wasi", "command", &guests::wasi_command(br#"{"from":"wasi"}"#)).await;
    assert_eq!(user.result("wasi", "command", json!({})).await, json!({ "from": "wasi" }));
    for (name, code, detail) in [
        ("fails", guests::wasi_exiting(2, b"no tea\n"), "Error: no tea"),
        ("fails_silently", guests::wasi_exiting(3, b""), "Error: exited with code 3"),
    ] {
        user.create_function("wasi", name, &code).await;
        let answer = user.invoke("wasi", name, json!({})).await.expect(422);
        assert_eq!(answer.detail(), detail, "{name}");
    }
    user.delete("/v1/fn/wasi").await.expect(204);
}

pub async fn functions_follow_their_module(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("before").await;
    user.create_function("before", "f", &guests::responding(b"1")).await;
    let rename = user.request(Method::PUT, "/v1/fn/before");
    user.send(rename.json(&json!({ "module": { "name": "after" } }))).await.expect(200);
    assert_eq!(user.result("after", "f", json!({})).await, json!(1));
    user.invoke("before", "f", json!({})).await.expect(404);

    user.delete("/v1/fn/after").await.expect(204);
    user.invoke("after", "f", json!({})).await.expect(404);
    // The name is free again, and a new module does not contain the old functions.
    user.create_module("after").await;
    user.invoke("after", "f", json!({})).await.expect(404);
    user.delete("/v1/fn/after").await.expect(204);
}
