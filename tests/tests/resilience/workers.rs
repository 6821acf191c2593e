//! The loss of one of two workers.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use futures::stream::FuturesUnordered;
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::{ListWorkersRequest, WorkerState};
use serde_json::json;
use tests::gate::Gate;
use tests::process::{Signal, send_signal};
use tests::{Answer, Client, Mesh, Shape, grpc, guests, wait};
use tokio::sync::oneshot;

/// The time within which the other worker takes over.
const TAKEOVER: Duration = Duration::from_secs(1);
/// The time within which the scheduler notices a closed connection, on a busy machine. Requests that it sends
/// before that are lost, and it cannot know whether the worker has read them.
const NOTICE: Duration = Duration::from_millis(100);

/// Of invocations that run on both workers, exactly those on the dead one fail, and immediately.
pub async fn a_dying_worker_fails_only_what_it_ran(shape: Shape) {
    const RUNNING: usize = 8;
    let mesh = two_workers(shape).await;
    let (gate, user) = (Gate::start().await, mesh.user());
    user.create_function("_", "caller", &guests::http_caller()).await;
    let mut running: FuturesUnordered<_> =
        (0..RUNNING).map(|_| user.invoke("_", "caller", json!({ "url": gate.url() }))).collect();
    let answers = async {
        let mut answers = Vec::new();
        while let Some(answer) = running.next().await {
            answers.push((answer, Instant::now()));
        }
        answers
    };
    let killing = async {
        gate.arrived(RUNNING).await;
        let on_each = running_on_each(&mesh).await;
        assert_eq!(on_each.iter().map(|(_, count)| count).sum::<usize>(), RUNNING, "{on_each:?}");
        let (victim, lost) = on_each.into_iter().max_by_key(|(_, count)| *count).expect("two workers");
        let killed = kill(mesh.pid_of(&victim).await).await;
        // The other worker accepts new work while its running invocations still wait.
        user.create_function("_", "other", &guests::responding(b"1")).await;
        assert_eq!(user.result("_", "other", json!({})).await, json!(1));
        tokio::time::timeout(TAKEOVER, await_removed(&mesh, &victim))
            .await
            .expect("the dead worker is removed");
        gate.open();
        (killed, lost)
    };
    let (answers, (killed, lost)) = tokio::join!(answers, killing);
    let (failed, rest): (Vec<_>, Vec<_>) = answers.into_iter().partition(|(answer, _)| answer.status != 200);
    assert_eq!(failed.len(), lost, "{failed:?}");
    assert_eq!(rest.len(), RUNNING - lost);
    for (answer, at) in failed {
        assert_clear_refusal(&answer);
        assert!(at.duration_since(killed) < TAKEOVER, "it took {:?}", at.duration_since(killed));
    }
}

/// At 100 invocations per second a worker is killed: no invocation sent later fails, and the other worker
/// takes over.
pub async fn the_load_goes_on_when_a_worker_dies(shape: Shape) {
    const PER_SECOND: u32 = 100;
    const BEFORE: u32 = PER_SECOND;
    const TOTAL: u32 = 5 * PER_SECOND;
    let mesh = two_workers(shape).await;
    let user = mesh.user();
    user.create_function("_", "hello", &guests::hello()).await;
    let victim = mesh.pid_of("worker-2").await;

    let (under_way, is_under_way) = oneshot::channel();
    let load = async {
        let (mut under_way, mut sent) = (Some(under_way), Vec::new());
        let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
        for number in 0..TOTAL {
            ticks.tick().await;
            if let Some(now) = under_way.take_if(|_| number == BEFORE) {
                now.send(()).expect("the receiver exists");
            }
            sent.push(tokio::spawn(timed(user.clone())));
        }
        join_all(sent).await
    };
    let killing = async {
        is_under_way.await.expect("the load starts");
        kill(victim).await
    };
    let (outcomes, dead) = tokio::join!(load, killing);
    let outcomes: Vec<_> = outcomes.into_iter().map(|outcome| outcome.expect("no panic")).collect();

    let failed: Vec<_> = outcomes.iter().filter(|(_, _, answer)| answer.status != 200).collect();
    for (start, end, answer) in failed {
        assert_clear_refusal(answer);
        assert!(
            *start <= dead + NOTICE,
            "sent {:?} after the death: {}",
            start.duration_since(dead),
            answer.text
        );
        assert!(end.duration_since(dead) < TAKEOVER, "a response took {:?}", end.duration_since(dead));
    }
    let later = outcomes.iter().filter(|(start, _, answer)| *start > dead && answer.status == 200);
    let first = later.map(|(_, end, _)| end.duration_since(dead)).min().expect("later invocations succeeded");
    // A busy machine takes its time for the invocation itself.
    assert!(first < 5 * TAKEOVER, "the other worker took over after {first:?}");
}

/// Kills a process and returns when it was dead, that is, when its last thread had closed its files.
async fn kill(pid: u32) -> Instant {
    send_signal(pid, Signal::KILL);
    wait::until("the worker is dead", Duration::from_secs(10), async || {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).map_or(0, Iterator::count);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let zombie = stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('Z'));
        (threads == 0 || threads == 1 && zombie).then(Instant::now)
    })
    .await
}

/// When the caller disconnects, the function is stopped long before its timeout of 60 s.
pub async fn a_caller_that_goes_away_stops_the_guest(shape: Shape) {
    let mesh = Mesh::start(shape).await;
    let user = mesh.user();
    user.create_function("_", "spin", &guests::spinning()).await;
    let running = tokio::spawn(async move { user.invoke("_", "spin", json!({})).await });
    let limit = Duration::from_secs(10);
    wait::until("the function runs", limit, async || (running_in_all(&mesh).await == 1).then_some(())).await;
    running.abort();
    wait::until("the function has ended", limit, async || (running_in_all(&mesh).await == 0).then_some(()))
        .await;
}

/// The number of running invocations, as reported by the workers.
async fn running_in_all(mesh: &Mesh) -> u32 {
    let workers = workers(mesh).await.into_iter();
    workers.map(|worker| worker.load.unwrap_or_default().running).sum()
}

async fn timed(user: Client) -> (Instant, Instant, Answer) {
    let start = Instant::now();
    let answer = user.invoke("_", "hello", json!({ "name": "load" })).await;
    (start, Instant::now(), answer)
}

fn assert_clear_refusal(answer: &Answer) {
    assert!(matches!(answer.status, 503 | 504), "{} {}", answer.status, answer.text);
    assert!(answer.detail().contains("worker"), "{}", answer.text);
}

/// A mesh that both workers have joined.
pub async fn two_workers(shape: Shape) -> Mesh {
    let mesh = Mesh::start(shape).await;
    wait::until("both workers have joined", Duration::from_secs(30), async || {
        (running_on_each(&mesh).await.len() == 2).then_some(())
    })
    .await;
    mesh
}

/// The number of invocations on each worker, as counted by the scheduler.
pub async fn running_on_each(mesh: &Mesh) -> Vec<(String, usize)> {
    let workers = workers(mesh).await.into_iter();
    workers.map(|worker| (worker.identity.unwrap_or_default().name, worker.in_flight as usize)).collect()
}

async fn workers(mesh: &Mesh) -> Vec<WorkerState> {
    let admin = grpc::connect(mesh, mesh.admin().token()).await;
    let list = ClusterClient::new(admin).list_workers(ListWorkersRequest {}).await.expect("a list");
    list.into_inner().workers
}

async fn await_removed(mesh: &Mesh, name: &str) {
    wait::until("the worker is removed", Duration::from_secs(10), async || {
        let there = running_on_each(mesh).await;
        // Its successor has the same name but runs nothing yet.
        there.iter().all(|(worker, count)| worker != name || *count == 0).then_some(())
    })
    .await;
}
