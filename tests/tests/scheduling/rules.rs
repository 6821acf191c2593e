//! The rules of scripts, checked by the workers that run the functions.

use futures::future::join_all;
use serde_json::{Value, json};
use tests::gate::Gate;
use tests::{Shape, wait};

use crate::site::Site;

const LIMIT: std::time::Duration = std::time::Duration::from_secs(30);

/// The strategies best-first, platform and random, the default item, followups, and refusals.
pub async fn strategies_and_followups(shape: Shape) {
    let site = Site::start(shape).await;
    let gate = Gate::start().await;
    gate.open();
    let url = gate.url();
    site.script(
        "s",
        "
- first: [{ workers: [nobody, edge-2, edge-1] }]
- most: [{ workers: [edge-1, cloud-1, edge-2], strategy: platform }]
- any: [{ workers: [edge-1, edge-2, cloud-1], strategy: random }]
- lost: [{ workers: [nobody] }]
- sent_on: [{ workers: [nobody] }]
  followup: default
- default: [{ workers: [cloud-1] }]
",
    )
    .await;
    site.script("strict", "- first: [{ workers: [nobody] }]\n").await;
    for tag in ["first", "most", "any", "lost", "sent_on", "other"] {
        site.function(tag, json!({ "tag": tag })).await;
    }

    for (function, expected) in
        [("first", "edge-2"), ("most", "cloud-1"), ("sent_on", "cloud-1"), ("other", "cloud-1")]
    {
        assert_eq!(site.ran_on(function, "s", url).await, expected, "{function}");
    }
    let mut seen = Vec::new();
    for _ in 0..30 {
        seen.push(site.ran_on("any", "s", url).await);
    }
    seen.sort();
    seen.dedup();
    assert_eq!(seen, ["cloud-1", "edge-1", "edge-2"]);

    for (function, script, reason) in [
        ("lost", "s", "no_valid_workers"),
        ("first", "strict", "no_valid_workers"),
        ("other", "strict", "no_matching_tag"),
    ] {
        let answer = site.invoke(function, script, url).await.expect(503);
        assert_eq!(answer.detail(), format!("No worker available: {reason}"));
        assert_eq!(site.explanation(&answer).await["refusal"], reason);
    }
    let answer = site.invoke("first", "unknown", url).await.expect(404);
    assert!(answer.detail().contains("unknown"), "{}", answer.text);
}

/// Under concurrent load a worker runs as many invocations as its memory and its limit allow, and never more.
pub async fn capacity_and_concurrency(shape: Shape) {
    let site = Site::start(shape).await;
    site.script(
        "s",
        "
- heavy:
    - { workers: [edge-1], invalidate: { capacity_used: 80% } }
    - { workers: [edge-2] }
- many:
    - { workers: [edge-1], invalidate: { max_concurrent_invocations: 3 } }
    - { workers: [edge-2] }
",
    )
    .await;
    // Two of these fit into 80 % of 256 MiB.
    site.function("heavy", json!({ "tag": "heavy", "capacity": 100 << 10 })).await;
    site.function("many", json!({ "tag": "many" })).await;

    for (function, calls, expected) in [("heavy", 5, [2, 3]), ("many", 50, [3, 47])] {
        let gate = Gate::start().await;
        let calling = join_all((0..calls).map(|_| site.invoke(function, "s", gate.url())));
        let looking = async {
            gate.arrived(calls).await;
            let expected = [("edge-1".to_owned(), expected[0]), ("edge-2".to_owned(), expected[1])];
            wait::until("the reports are up to date", LIMIT, async || {
                (site.running().await == expected).then_some(())
            })
            .await;
            gate.open();
        };
        let (answers, ()) = tokio::join!(calling, looking);
        answers.into_iter().for_each(|answer| drop(answer.expect(200)));
        wait::until("nothing runs", LIMIT, async || site.running().await.is_empty().then_some(())).await;
    }
    // The limit also holds while invocations start and end: there is never a fourth.
    let gate = Gate::start().await;
    gate.open();
    for answer in join_all((0..50).map(|_| site.invoke("many", "s", gate.url()))).await {
        answer.expect(200);
    }
    let decisions = site.user.get("/v1/decisions?limit=50").await.expect(200).json();
    let at_once = most_at_once(decisions["data"].as_array().expect("a list"), "edge-1");
    assert!((1..=3).contains(&at_once), "{at_once} concurrent invocations");
}

/// The maximum number of concurrent invocations on a worker.
fn most_at_once(decisions: &[Value], worker: &str) -> i64 {
    let mut changes = Vec::new();
    for decision in decisions.iter().filter(|decision| decision["worker"] == worker) {
        let invocation = &decision["invocation"];
        let at = invocation["at_ns"].as_u64().expect("a time");
        changes.push((at, 1));
        changes.push((at + invocation["duration_ns"].as_u64().expect("a duration"), -1));
    }
    changes.sort_unstable();
    let running = changes.iter().scan(0, |running, (_, change)| {
        *running += change;
        Some(*running)
    });
    running.max().unwrap_or(0)
}

/// Functions run where others run, or where others do not run.
pub async fn affinity(shape: Shape) {
    let site = Site::start(shape).await;
    let (gate, open) = (Gate::start().await, Gate::start().await);
    open.open();
    site.script(
        "s",
        r#"
- store: [{ workers: [edge-2] }]
- near: [{ workers: "*", affinity: [store] }]
- far: [{ workers: [edge-2, edge-1], affinity: ["!store"] }]
- rather_near:
    - { workers: "*", affinity: [store] }
    - { workers: [cloud-1] }
"#,
    )
    .await;
    for tag in ["store", "near", "far", "rather_near"] {
        site.function(tag, json!({ "tag": tag })).await;
    }
    let answer = site.invoke("near", "s", open.url()).await.expect(503);
    let explained = site.explanation(&answer).await.to_string();
    assert!(explained.contains("runs nothing tagged"), "{explained}");
    assert_eq!(site.ran_on("far", "s", open.url()).await, "edge-2");
    assert_eq!(site.ran_on("rather_near", "s", open.url()).await, "cloud-1");

    let storing = site.invoke("store", "s", gate.url());
    let looking = async {
        gate.arrived(1).await;
        for (function, expected) in [("near", "edge-2"), ("far", "edge-1"), ("rather_near", "edge-2")] {
            assert_eq!(site.ran_on(function, "s", open.url()).await, expected, "{function}");
        }
        gate.open();
    };
    tokio::join!(storing, looking).0.expect(200);
}

/// The function's own script applies unless an invocation names another policy.
pub async fn a_function_has_a_script_of_its_own(shape: Shape) {
    let site = Site::start(shape).await;
    let gate = Gate::start().await;
    gate.open();
    site.script("own", "- default: [{ workers: [edge-1] }]\n").await;
    site.script("named", "- default: [{ workers: [edge-2] }]\n").await;
    site.function("f", json!({ "script": "own" })).await;
    let worker_by = async |scheduling: Value| {
        let body = json!({ "args": { "url": gate.url() }, "scheduling": scheduling });
        let answer = site.user.post("/v1/fn/_/f", &body).await.expect(200);
        let explained = site.explanation(&answer).await;
        (explained["script"].clone(), explained["worker"].clone())
    };
    assert_eq!(worker_by(Value::Null).await, (json!("own"), json!("edge-1")));
    let named = json!({ "language": "app", "script": "named" });
    assert_eq!(worker_by(named).await, (json!("named"), json!("edge-2")));
    // The mesh's own worker has the machine's memory.
    assert_eq!(worker_by(json!({ "language": "none" })).await, (json!(""), json!("worker")));
}
