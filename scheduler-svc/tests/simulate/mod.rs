//! Simulations through the scheduler's gRPC.

use std::time::Duration;

use mesh::deadline::Deadline;
use mesh::testing::eventually;
use mesh::{Channel, Error, MAX_MESSAGE_BYTES, Reason};
use proto::registry::v1::{Function, Metadata};
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::policies_client::PoliciesClient;
use proto::scheduler::v1::scheduling::Language;
use proto::scheduler::v1::simulate_request::Policy;
use proto::scheduler::v1::{
    Decision, DefaultPolicy, InvokeRequest, ListDecisionsRequest, Placement, Scheduling, SimulateRequest,
    SimulateResponse, SimulatedWorker, TimedInvocation,
};
use scheduler_svc::Config;
use tokio::task::JoinSet;

use crate::support::{Behaviour, Stage, function, invocation_of, patient};

const MB: u64 = 1 << 20;

fn worker(name: &str, memory_total: u64) -> SimulatedWorker {
    SimulatedWorker { name: name.into(), memory_total, memory_available: None }
}

fn invocation(at_ns: u64, capacity_kb: u64) -> TimedInvocation {
    TimedInvocation { at_ns, capacity_kb, duration_ns: Some(10), ..TimedInvocation::default() }
}

fn by_default(workers: Vec<SimulatedWorker>, load: Vec<TimedInvocation>) -> SimulateRequest {
    let policy = Some(Policy::DefaultPolicy(DefaultPolicy {}));
    SimulateRequest { policy, workers, load, ..SimulateRequest::default() }
}

async fn simulate(
    channel: &Channel,
    request: impl tonic::IntoRequest<SimulateRequest>,
) -> Result<SimulateResponse, Error> {
    let client = PoliciesClient::new(channel.clone());
    let mut client =
        client.max_decoding_message_size(MAX_MESSAGE_BYTES).max_encoding_message_size(MAX_MESSAGE_BYTES);
    Ok(client.simulate(request).await?.into_inner())
}

#[tokio::test]
async fn a_load_is_placed_in_the_order_of_its_times() {
    let stage = Stage::start().await;
    stage.registry.put(function("f"));
    let load = vec![invocation(20, 0), invocation(0, 600), invocation(5, 600), invocation(6, 600)];
    let request = by_default(vec![worker("b", MB), worker("a", MB)], load);
    let placed = |invocation, worker: &str, refusal: &str| Placement {
        invocation,
        worker: worker.into(),
        refusal: refusal.into(),
    };
    let expected =
        [placed(1, "a", ""), placed(2, "b", ""), placed(3, "", "no_valid_workers"), placed(0, "a", "")];
    assert_eq!(simulate(&stage.channel, request).await.expect("simulated").placements, expected);
    // It was none of the scheduler's own business.
    assert!(stage.worker_names().await.is_empty());
    assert!(stage.invoke(invocation_of("f", 1)).await.is_err_and(|error| error.reason == Reason::NoWorker));
}

#[tokio::test]
async fn stored_scripts_and_given_ones_place_alike() {
    let stage = Stage::start().await;
    let content = "- t:\n  - workers: [b]\n    invalidate: {max_concurrent_invocations: 1}\n  followup: default\n\
        - default: [{workers: '*', strategy: random}]\n";
    let min_revision = stage.registry.put_script("stored", content);
    let tagged = |at_ns| TimedInvocation { tag: "t".into(), ..invocation(at_ns, 1) };
    let load: Vec<_> =
        [0, 1, 10].map(tagged).into_iter().chain((20..40).map(|at| invocation(at, 1))).collect();
    let workers = vec![worker("a", MB), worker("b", MB), worker("c", MB)];
    let mut seen = Vec::new();
    for policy in [Policy::Script("stored".into()), Policy::Content(content.into())] {
        let request = SimulateRequest {
            policy: Some(policy),
            workers: workers.clone(),
            load: load.clone(),
            seed: 5,
            min_revision,
        };
        let placements = simulate(&stage.channel, request).await.expect("simulated").placements;
        seen.push(placements.into_iter().map(|placement| placement.worker).collect::<Vec<_>>());
    }
    assert_eq!(seen[0], seen[1]);
    assert_eq!((&*seen[0][0], &*seen[0][2]), ("b", "b"), "the second found it taken, the third free again");
    for worker in ["a", "b", "c"] {
        assert!(seen[0][3..].iter().any(|taken| taken == worker), "{worker} is never taken: {:?}", seen[0]);
    }
}

const MEMORY_KB: [(&str, u64); 3] = [("a", 500), ("b", 1000), ("c", 800)];

/// Starts invocations by the script `s`, a third of them tagged `db`, the others `web`.
fn invoke_all(stage: &Stage, count: usize) -> JoinSet<()> {
    let invoke = |number: usize| {
        let scheduling = Some(Scheduling { language: Some(Language::AppScript("s".into())) });
        let name = if number.is_multiple_of(3) { "db" } else { "web" };
        let request = InvokeRequest { scheduling, ..invocation_of(name, 3) };
        let mut client = InvocationsClient::new(stage.channel.clone());
        async move { drop(client.invoke(request).await) }
    };
    (0..count).map(invoke).collect()
}

/// Has a scheduler place 120 invocations, of which some last while others come and go.
async fn record(stage: &Stage) -> Vec<Decision> {
    let content = "- web:\n  - {workers: '*', strategy: random, invalidate: {max_concurrent_invocations: 2}}\n  \
        followup: default\n- db: [{workers: '*', affinity: ['!web']}, {workers: [c, b], strategy: platform}]\n\
        - default: [{workers: '*', strategy: platform}]\n";
    stage.registry.put_script("s", content);
    for name in ["web", "db"] {
        let metadata = Metadata { tag: name.into(), capacity_kb: 64, ..Metadata::default() };
        stage.registry.put(Function { metadata: Some(metadata), ..function(name) });
    }
    let mut workers = Vec::new();
    for (name, available_kb) in MEMORY_KB {
        workers.push(stage.worker(name, available_kb).await);
    }
    let c = &workers[2];
    c.behave(Behaviour::Hang);
    let mut lasting = invoke_all(stage, 60);
    eventually("only c still runs any", || {
        while lasting.try_join_next().is_some() {}
        let done = lasting.len() == c.running();
        async move { done }
    })
    .await;
    assert!(!lasting.is_empty(), "nothing is on c");
    c.behave(Behaviour::Answer);
    invoke_all(stage, 30).join_all().await;
    lasting.shutdown().await;
    let has_ended = |decision: &Decision| {
        let duration = decision.invocation.as_ref().and_then(|invocation| invocation.duration_ns);
        !decision.refusal.is_empty() || duration.is_some()
    };
    eventually("all have ended", || async { decisions(stage).await.iter().all(has_ended) }).await;
    invoke_all(stage, 30).join_all().await;
    decisions(stage).await
}

async fn decisions(stage: &Stage) -> Vec<Decision> {
    let mut client = PoliciesClient::new(stage.channel.clone());
    client.list_decisions(ListDecisionsRequest { limit: 0 }).await.expect("listed").into_inner().decisions
}

#[tokio::test]
async fn a_load_that_was_recorded_is_placed_where_it_ran() {
    const SEED: u64 = 11;
    let stage = Stage::start_with(Config { random_seed: Some(SEED), ..patient() }).await;
    let decisions = record(&stage).await;
    let workers = MEMORY_KB.map(|(name, available_kb)| SimulatedWorker {
        memory_available: Some(available_kb << 10),
        ..worker(name, 1 << 30)
    });
    let request = SimulateRequest {
        policy: Some(Policy::Script("s".into())),
        workers: workers.into(),
        load: decisions.iter().map(|decision| decision.invocation.clone().expect("has one")).collect(),
        seed: SEED,
        min_revision: 0,
    };
    let simulated = simulate(&stage.channel, request).await.expect("simulated").placements;
    let placed: Vec<_> = simulated.into_iter().map(|placed| (placed.worker, placed.refusal)).collect();
    let recorded: Vec<_> =
        decisions.into_iter().map(|decision| (decision.worker, decision.refusal)).collect();
    assert_eq!(recorded.len(), 120);
    for name in ["a", "b", "c"] {
        assert!(recorded.iter().any(|(worker, _)| worker == name), "{name} ran nothing: {recorded:?}");
    }
    assert_eq!(placed, recorded);
}

#[tokio::test]
async fn invalid_simulations_are_refused_with_their_reason() {
    let stage = Stage::start().await;
    let revision = stage.registry.put_script("unusable", "- default: []");
    let with = |policy| SimulateRequest { policy, min_revision: revision, ..SimulateRequest::default() };
    let twice = by_default(vec![worker("a", 1), worker("a", 1)], Vec::new());
    let long = by_default(vec![worker(&"x".repeat(1 << 20), MB)], vec![invocation(0, 1); 17]);
    let cases = [
        (with(None), Reason::InvalidField, "policy"),
        (with(Some(Policy::Script("unknown".into()))), Reason::ScriptNotFound, "unknown"),
        (with(Some(Policy::Script("unusable".into()))), Reason::ScriptUnusable, "unusable"),
        (
            with(Some(Policy::Content("- t: 5".into()))),
            Reason::InvalidField,
            "content unknown_construct: tag \"t\"",
        ),
        (twice, Reason::InvalidField, "workers[1].name \"a\" is the name of workers[0]"),
        (long, Reason::TooLarge, "the answer"),
    ];
    for (request, reason, words) in cases {
        let error = simulate(&stage.channel, request).await.expect_err(words);
        assert_eq!(error.reason, reason, "{words}: {error}");
        assert!(error.message.contains(words), "{words}: {error}");
    }
}

#[tokio::test]
async fn a_simulation_ends_with_the_deadline_of_its_caller() {
    let stage = Stage::start().await;
    // Minutes of work.
    let workers = (0..10_000).map(|index| worker(&format!("w{index}"), MB)).collect();
    let request = by_default(workers, vec![invocation(0, 1); 100_000]);
    let soon = Deadline::after(Duration::from_millis(500)).attach(request);
    let error = simulate(&stage.channel, soon).await.expect_err("too long");
    assert_eq!(error.reason, Reason::DeadlineExceeded, "{error}");
    // It holds no place any more: as many as may run at once still run.
    eventually("there is room for others", || async {
        let small = || simulate(&stage.channel, by_default(vec![worker("a", MB)], vec![invocation(0, 1)]));
        let (one, other) = tokio::join!(small(), small());
        one.is_ok() && other.is_ok()
    })
    .await;
}
