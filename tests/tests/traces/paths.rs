//! The complete trace of each path of an invocation.

use std::path::Path;
use std::time::Duration;

use axum::http::HeaderMap;
use http::Method;
use mesh::testing::Served;
use serde_json::json;
use tests::client::Upload;
use tests::collector::{Collector, Trace};
use tests::{Answer, Client, Mesh, Shape, guests, wait};

const SOON: Duration = Duration::from_secs(30);
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

/// A mesh that sends its traces to a collector.
pub async fn traced(shape: Shape, flags: &[&str]) -> (Mesh, Collector) {
    let collector = Collector::start().await;
    let url = collector.url();
    let flags: Vec<_> = ["--otlp-endpoint", &url].into_iter().chain(flags.iter().copied()).collect();
    (Mesh::start_with(shape, &flags).await, collector)
}

/// The trace id in a response's headers.
pub fn trace_of(answer: &Answer) -> String {
    let traceresponse = answer.headers.get("traceresponse").expect("a traceresponse header");
    let parts: Vec<_> = traceresponse.to_str().expect("text").split('-').collect();
    assert_eq!((parts[0], parts.len()), ("00", 4), "{traceresponse:?}");
    parts[1].to_owned()
}

/// The expected tree of an invocation, with these lines below `execute`.
pub fn invocation(below_execute: &str) -> String {
    let mut tree = "
POST /v1/fn/{module}/{function} (server)
  funless.scheduler.v1.Invocations/Invoke (client)
    funless.scheduler.v1.Invocations/Invoke (server)
      choose (internal)
      funless.worker.v1.Execution/Execute (client)
        funless.worker.v1.Execution/Execute (server)
          execute (internal)
"
    .to_owned();
    for line in below_execute.lines().filter(|line| !line.trim().is_empty()) {
        tree.push_str(&format!("            {}\n", line.strip_prefix("            ").unwrap_or(line)));
    }
    tree
}

#[track_caller]
fn assert_attributes(trace: &Trace, span: &str, expected: &[(&str, &str)]) {
    let span = trace.span(span);
    for (name, value) in expected {
        assert_eq!(span.attribute(name), *value, "{name} of {}", span.name);
    }
}

/// The invocation continues the caller's trace and follows its sampling decision.
pub async fn a_warm_invocation(shape: Shape) {
    let (mesh, collector) = traced(shape, &["--sample-ratio", "0"]).await;
    let user = mesh.user();
    user.create_function("_", "hello", &guests::hello()).await;
    user.invoke("_", "hello", json!({ "name": "you" })).await.expect(200);
    let request = user.request(Method::POST, "/v1/fn/_/hello").json(&json!({ "args": { "name": "you" } }));
    let request = request.header("traceparent", format!("00-{TRACE}-{CALLER}-01"));
    let answer = user.send(request).await.expect(200);
    assert_eq!(trace_of(&answer), TRACE);
    let trace = collector.expect_tree(TRACE, &invocation("instantiate (internal)\nrun (internal)")).await;
    assert_eq!(trace.span("POST /v1/fn/{module}/{function}").parent, CALLER);
    let invocation_id = answer.headers["x-funless-invocation"].to_str().expect("text");
    let decision = answer.headers["x-funless-decision"].to_str().expect("text");
    assert_attributes(
        &trace,
        "POST /v1/fn/{module}/{function}",
        &[
            ("http.request.method", "POST"),
            ("http.route", "/v1/fn/{module}/{function}"),
            ("http.response.status_code", "200"),
            ("url.path", "/v1/fn/_/hello"),
            ("faas.trigger", "http"),
        ],
    );
    assert_attributes(
        &trace,
        "choose",
        &[
            ("funless.policy", "default"),
            ("funless.candidates", "1"),
            ("funless.chosen", "worker"),
            ("funless.reason", "worker: the default policy takes the worker with the most memory available"),
            ("funless.decision", decision),
        ],
    );
    assert_attributes(
        &trace,
        "execute",
        &[
            ("faas.name", "_/hello"),
            ("faas.invocation_id", invocation_id),
            ("faas.coldstart", "false"),
            ("funless.outcome", "result"),
            ("funless.in_bytes", "14"),
        ],
    );
    let rpc = trace.span_of_kind("funless.worker.v1.Execution/Execute", "client");
    assert_eq!((rpc.attribute("rpc.system"), rpc.attribute("rpc.method")), ("grpc", "Execute"));
    let services: Vec<_> = trace.spans.iter().map(|span| &*span.service).collect();
    let expected = if shape.processes.is_some() { "funless-worker" } else { "funless-mesh" };
    assert!(services.contains(&expected), "{services:?}");
    // Other requests are not sampled.
    assert!(collector.spans().iter().all(|span| span.trace_id == TRACE), "only what the caller sampled");
}

/// Code that is neither in memory nor on disk is fetched and compiled within the invocation's trace.
pub async fn an_update_and_then_a_cold_invocation(shape: Shape) {
    let (mesh, collector) = traced(shape, &["--set", "worker.module_cache_bytes=0"]).await;
    let user = mesh.user();
    user.create_function("_", "f", &guests::responding(b"1")).await;
    let upload = Upload::function("f", &guests::responding(b"2"));
    let update = user.put_form("/v1/fn/_/f", upload).await.expect(200);
    let updated = collector.expect_tree(&trace_of(&update), UPDATE).await;
    let server = updated.span_of_kind("funless.registry.v1.Functions/UpdateFunction", "server");
    let statements = || updated.spans.iter().filter(|span| span.attributes.contains_key("db.system.name"));
    assert!(statements().any(|statement| statement.name == "UPDATE" && statement.parent == server.id));
    for statement in statements() {
        // A scheduler that does not know the update yet asks the registry for its revision.
        let parent = updated.spans.iter().find(|span| span.id == statement.parent).expect("its parent");
        assert_eq!(parent.kind, "server", "{statement:?}");
        assert!(parent.name.starts_with("funless.registry.v1."), "{statement:?} in {parent:?}");
        assert!(
            !statement.attribute("db.query.text").contains("'f'"),
            "statements do not contain values: {statement:?}"
        );
    }

    remove_artifacts(&mesh.data_dir().join("code-cache"));
    let answer = user.invoke("_", "f", json!({})).await.expect(200);
    assert_eq!(answer.json()["data"], json!(2), "the new code runs");
    let cold = "
            load (internal)
            queue (internal)
            fetch (internal)
              funless.registry.v1.CodeStore/FetchCode (client)
                funless.registry.v1.CodeStore/FetchCode (server)
                  SELECT (client)
                  SELECT (client)
            compile (internal)
            instantiate (internal)
            run (internal)
    ";
    let trace = collector.expect_tree(&trace_of(&answer), &invocation(cold)).await;
    assert_attributes(&trace, "execute", &[("faas.coldstart", "true"), ("funless.outcome", "result")]);
    assert_attributes(&trace, "load", &[("funless.found", "false")]);

    let answer = user.invoke("_", "f", json!({})).await.expect(200);
    let from_disk = invocation("load (internal)\ninstantiate (internal)\nrun (internal)");
    let trace = collector.expect_tree(&trace_of(&answer), &from_disk).await;
    assert_attributes(&trace, "load", &[("funless.found", "true")]);
}

const UPDATE: &str = "
    PUT /v1/fn/{module}/{function} (server)
      funless.registry.v1.Functions/UpdateFunction (client)
        funless.registry.v1.Functions/UpdateFunction (server) ...
      funless.scheduler.v1.Cluster/AwaitCode (client)
        funless.scheduler.v1.Cluster/AwaitCode (server) ...
";

fn remove_artifacts(cache: &Path) {
    for entry in std::fs::read_dir(cache).expect("the cache") {
        let entry = entry.expect("an entry");
        if entry.file_type().expect("a type").is_dir() {
            remove_artifacts(&entry.path());
        } else if entry.path().extension().is_some_and(|extension| extension == "cwasm") {
            std::fs::remove_file(entry.path()).expect("failed to delete the artifact");
        }
    }
}

/// The function's HTTP request has a span. The server receives it as the parent, and the baggage.
pub async fn a_guest_that_calls_out(shape: Shape) {
    let (seen, mut requests) = tokio::sync::mpsc::unbounded_channel();
    let see = move |headers: HeaderMap| async move {
        let _ = seen.send(headers);
        "{}"
    };
    let far = Served::start(axum::Router::new().route("/far", axum::routing::get(see))).await;
    let (mesh, collector) = traced(shape, &[]).await;
    let user = mesh.user();
    user.create_function("_", "caller", &guests::http_caller()).await;
    let url = far.endpoint.to_string();
    let target =
        format!("{}/far?token=secret", url.trim_end_matches('/').replace("http://", "http://user:word@"));
    let request = user.request(Method::POST, "/v1/fn/_/caller").json(&json!({ "args": { "url": target } }));
    let request = request.header("baggage", "tenant=ann").header("tracestate", "vendor=1");
    // The first call loads the code. This one has no URL.
    user.invoke("_", "caller", json!({})).await;
    let answer = user.send(request).await.expect(200);
    let trace_id = trace_of(&answer);
    let run = "
            instantiate (internal)
            run (internal)
              GET (client)
    ";
    let trace = collector.expect_tree(&trace_id, &invocation(run)).await;
    let call = trace.span("GET");
    let port = url.trim_end_matches('/').rsplit_once(':').expect("a port").1;
    assert_attributes(
        &trace,
        "GET",
        &[
            ("http.request.method", "GET"),
            ("http.response.status_code", "200"),
            ("url.scheme", "http"),
            ("server.address", "127.0.0.1"),
            ("server.port", port),
        ],
    );
    let headers = requests.recv().await.expect("the request has arrived");
    assert_eq!(headers["traceparent"], format!("00-{trace_id}-{}-01", call.id));
    assert_eq!(headers["baggage"], "tenant=ann");
    assert_attributes(&trace, "execute", &[("funless.http_requests", "1")]);
    assert!(!format!("{:?}", collector.spans()).contains("/far"), "paths may be secrets");
}

/// A failing function is an error of the client spans and of `execute`. The servers' spans have no error,
/// except that of the gateway, which reports the status to the client.
pub async fn a_failing_guest(shape: Shape) {
    let (mesh, collector) = traced(shape, &[]).await;
    let user = mesh.user();
    user.create_function("_", "trap", &guests::trapping()).await;
    // The first call loads the code.
    user.invoke("_", "trap", json!({})).await.expect(500);
    let answer = user.invoke("_", "trap", json!({})).await.expect(500);
    let expected = "
        POST /v1/fn/{module}/{function} (server) !
          funless.scheduler.v1.Invocations/Invoke (client) !
            funless.scheduler.v1.Invocations/Invoke (server)
              choose (internal)
              funless.worker.v1.Execution/Execute (client) !
                funless.worker.v1.Execution/Execute (server)
                  execute (internal) !
                    instantiate (internal)
                    run (internal)
    ";
    let trace = collector.expect_tree(&trace_of(&answer), expected).await;
    assert_attributes(&trace, "execute", &[("error.type", "trapped"), ("funless.outcome", "trapped")]);
    assert_attributes(&trace, "POST /v1/fn/{module}/{function}", &[("error.type", "500")]);

    user.create_function("_", "fail", &guests::failing(b"no")).await;
    user.invoke("_", "fail", json!({})).await.expect(422);
    let answer = user.invoke("_", "fail", json!({})).await.expect(422);
    let own_error = invocation("instantiate (internal)\nrun (internal)");
    let trace = collector.expect_tree(&trace_of(&answer), &own_error).await;
    assert_attributes(&trace, "execute", &[("funless.outcome", "function_error")]);
}

/// When a worker is full, the dispatch is retried: each attempt has the spans of a choice and a call.
pub async fn a_dispatch_that_is_retried(shape: Shape) {
    let shape = Shape { processes: shape.processes.map(|_| 2), ..shape };
    let (mesh, collector) = traced(shape, &["--set", "worker.max_concurrent=1"]).await;
    let user = mesh.user();
    let script = "- default:\n    - workers: [worker, worker-2]\n      strategy: best-first\n";
    let upload = Upload::default().text("name", "in_order").file("file", script.as_bytes());
    user.post_form("/v1/scripts/app", upload).await.expect(201);
    user.create_function("_", "spin", &guests::spinning()).await;
    user.create_function("_", "f", &guests::responding(b"1")).await;
    let busy = tokio::spawn(in_order(user.clone(), "spin"));
    wait::until("the first worker is busy", SOON, async || {
        let workers = mesh.admin().get("/v1/admin/workers").await.expect(200).json();
        workers["data"]["workers"].as_array()?.iter().find(|worker| worker["running"] == json!(1)).map(|_| ())
    })
    .await;
    // The first call loads the code.
    in_order(user.clone(), "f").await;
    let answer = in_order(user.clone(), "f").await;
    busy.abort();
    let (status, expected) = match shape.processes {
        Some(_) => (
            200,
            "
            POST /v1/fn/{module}/{function} (server)
              funless.scheduler.v1.Invocations/Invoke (client)
                funless.scheduler.v1.Invocations/Invoke (server)
                  choose (internal)
                  funless.worker.v1.Execution/Execute (client) !
                    funless.worker.v1.Execution/Execute (server)
                  choose (internal)
                  funless.worker.v1.Execution/Execute (client)
                    funless.worker.v1.Execution/Execute (server)
                      execute (internal)
                        instantiate (internal)
                        run (internal)
            ",
        ),
        // There is only one worker.
        None => (
            429,
            "
            POST /v1/fn/{module}/{function} (server)
              funless.scheduler.v1.Invocations/Invoke (client) !
                funless.scheduler.v1.Invocations/Invoke (server)
                  choose (internal)
                  funless.worker.v1.Execution/Execute (client) !
                    funless.worker.v1.Execution/Execute (server)
                  choose (internal) !
            ",
        ),
    };
    let answer = answer.expect(status);
    let trace = collector.expect_tree(&trace_of(&answer), expected).await;
    let mut choices: Vec<_> = trace.spans.iter().filter(|span| span.name == "choose").collect();
    choices.sort_by_key(|span| span.start);
    assert_eq!(choices[0].attribute("funless.chosen"), "worker");
    match shape.processes {
        Some(_) => assert_eq!(choices[1].attribute("funless.chosen"), "worker-2"),
        None => assert_eq!(choices[1].attribute("funless.refusal"), "no_valid_workers"),
    }
    assert!(choices.iter().all(|choice| choice.attribute("funless.policy") == "in_order"));
}

async fn in_order(user: Client, function: &str) -> Answer {
    let body = json!({ "args": {}, "scheduling": { "language": "app", "script": "in_order" } });
    user.post(&format!("/v1/fn/_/{function}"), &body).await
}

/// For a failed request that is not sampled, only the gateway's span is exported.
pub async fn an_unsampled_failure(shape: Shape) {
    let (mesh, collector) = traced(shape, &["--sample-ratio", "0"]).await;
    let user = mesh.user();
    user.create_function("_", "trap", &guests::trapping()).await;
    let answer = user.invoke("_", "trap", json!({})).await.expect(500);
    let trace = collector.expect_tree(&trace_of(&answer), "POST /v1/fn/{module}/{function} (server) !").await;
    let kept = [("funless.kept_because", "error"), ("http.response.status_code", "500")];
    assert_attributes(&trace, "POST /v1/fn/{module}/{function}", &kept);
    assert_eq!(collector.spans().len(), 1, "nothing else is exported");
}
