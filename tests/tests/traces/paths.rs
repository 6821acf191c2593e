//! The whole shape of the trace of each path.

use serde_json::json;
use tests::collector::Collector;
use tests::{Mesh, Shape, guests};

/// The trace of an answer.
pub fn trace_of(answer: &tests::Answer) -> String {
    let traceresponse = answer.headers.get("traceresponse").expect("an answer names its trace");
    let parts: Vec<_> = traceresponse.to_str().expect("text").split('-').collect();
    assert_eq!((parts[0], parts.len()), ("00", 4), "{traceresponse:?}");
    parts[1].to_owned()
}

pub async fn a_warm_invocation(shape: Shape) {
    let collector = Collector::start().await;
    let mesh = Mesh::start_with(shape, &["--otlp-endpoint", &collector.url()]).await;
    let user = mesh.user();
    user.create_function("_", "hello", &guests::hello()).await;
    user.invoke("_", "hello", json!({ "name": "you" })).await.expect(200);
    let answer = user.invoke("_", "hello", json!({ "name": "you" })).await.expect(200);
    let trace_id = trace_of(&answer);
    collector
        .expect_tree(
            &trace_id,
            "
            POST /v1/fn/{module}/{function} (server)
              funless.scheduler.v1.Invocations/Invoke (client)
                funless.scheduler.v1.Invocations/Invoke (server)
                  funless.worker.v1.Execution/Execute (client)
                    funless.worker.v1.Execution/Execute (server)
                      execute (internal)
            ",
        )
        .await;
}
