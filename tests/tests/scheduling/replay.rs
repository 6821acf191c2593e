//! The simulator places a recorded load exactly like the scheduler did.

use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;
use mesh::Channel;
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::policies_client::PoliciesClient;
use proto::scheduler::v1::scheduling::Language;
use proto::scheduler::v1::simulate_request::Policy;
use proto::scheduler::v1::{
    InvokeRequest, ListDecisionsRequest, ListWorkersRequest, Scheduling, SimulateRequest, SimulatedWorker,
};
use serde_json::json;
use tests::client::Upload;
use tests::{ExtraScheduler, ExtraWorker, Mesh, Shape, guests, wait};

const SEED: u64 = 42;
const INVOCATIONS: usize = 300;
const AT_ONCE: usize = 24;
const MIB: u64 = 1 << 20;
const WORKERS: [(&str, u64); 4] = [("a", 64 * MIB), ("b", 128 * MIB), ("c", 128 * MIB), ("d", 256 * MIB)];

const SCRIPT: &str = r#"
- any: [{ workers: "*", strategy: random, invalidate: { max_concurrent_invocations: 8 } }]
- most: [{ workers: "*", strategy: platform }]
- tight:
    - { workers: [a, b], invalidate: { capacity_used: 50% } }
    - { workers: [c], affinity: ["!most"] }
  followup: default
- default: [{ workers: [d, c], strategy: random }]
"#;

/// Uses all strategies, on a scheduler with a known random seed.
pub async fn a_recorded_load_is_placed_as_it_was(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let scheduler = ExtraScheduler::start(&mesh, "seeded", &[("random_seed", &SEED.to_string())]).await;
    let schedulers = format!("[{:?}]", scheduler.address());
    let mut workers = Vec::new();
    for (name, memory) in WORKERS {
        let settings = [("schedulers", schedulers.as_str()), ("total_memory_bytes", &memory.to_string())];
        workers.push(ExtraWorker::start(&mesh, name, &settings).await);
    }
    let user = mesh.user();
    let upload = Upload::default().text("name", "s").file("file", SCRIPT.as_bytes());
    user.post_form("/v1/scripts/app", upload).await.expect(201);
    // Each function reserves more than it uses, so that only reservations determine the available memory.
    let mut revision = 0;
    for tag in ["any", "most", "tight"] {
        let metadata = json!({ "tag": tag, "capacity": 8 << 10 }).to_string();
        let upload = Upload::function(tag, &guests::responding(b"1")).text("metadata", metadata);
        let created = user.post_form("/v1/fn/_", upload).await.expect(201);
        let header = created.headers.get("x-funless-revision").expect("a write has a revision");
        revision = header.to_str().expect("text").parse().expect("a number");
    }

    let channel = scheduler.channel();
    // The simulator assumes that all code is prepared.
    let cluster = ClusterClient::new(channel.clone());
    wait::until("all workers have the code", Duration::from_secs(30), async || {
        let list = cluster.clone().list_workers(ListWorkersRequest {}).await.expect("a list").into_inner();
        (list.workers.iter().filter(|worker| worker.code_ready.len() == 1).count() == WORKERS.len())
            .then_some(())
    })
    .await;
    invoke_all(&channel, revision).await;

    let mut policies = PoliciesClient::new(channel);
    let limit = u32::try_from(INVOCATIONS).expect("a few");
    let recorded =
        policies.list_decisions(ListDecisionsRequest { limit }).await.expect("a list").into_inner();
    let recorded = recorded.decisions;
    assert_eq!(recorded.len(), INVOCATIONS);
    let request = SimulateRequest {
        policy: Some(Policy::Script("s".into())),
        workers: WORKERS
            .map(|(name, memory_total)| SimulatedWorker {
                name: name.into(),
                memory_total,
                memory_available: None,
            })
            .into(),
        load: recorded.iter().map(|decision| decision.invocation.clone().expect("the invocation")).collect(),
        seed: SEED,
        ..SimulateRequest::default()
    };
    let simulated = policies.simulate(request).await.expect("simulated").into_inner().placements;
    let live: Vec<_> = recorded.iter().map(|decision| (&*decision.worker, &*decision.refusal)).collect();
    let simulated: Vec<_> =
        simulated.iter().map(|placement| (&*placement.worker, &*placement.refusal)).collect();
    assert_eq!(simulated, live);
    for (name, _) in WORKERS {
        assert!(live.iter().any(|(worker, _)| *worker == name), "nothing ran on {name}");
    }
}

/// Invokes the functions in turn with the script, several concurrently.
async fn invoke_all(scheduler: &Channel, min_revision: u64) {
    let scheduling = Some(Scheduling { language: Some(Language::AppScript("s".into())) });
    let calls = stream::iter(0..INVOCATIONS).map(|number| {
        let request = InvokeRequest {
            module: "_".into(),
            function: ["any", "most", "tight"][number % 3].into(),
            args: Bytes::from_static(b"{}"),
            scheduling: scheduling.clone(),
            min_revision,
            ..InvokeRequest::default()
        };
        let mut client = InvocationsClient::new(scheduler.clone());
        async move { client.invoke(request).await }
    });
    let outcomes: Vec<_> = calls.buffer_unordered(AT_ONCE).collect().await;
    assert!(outcomes.iter().filter(|outcome| outcome.is_ok()).count() > INVOCATIONS / 2);
}
