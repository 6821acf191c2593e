//! A worker or the scheduler is paused: its connections stay open, and nobody reads them.

use std::time::{Duration, Instant};

use serde_json::json;
use tests::client::Upload;
use tests::gate::Gate;
use tests::process::Paused;
use tests::{Answer, Client, Mesh, Shape, guests, wait};
use tokio::task::JoinHandle;

use super::workers::{running_on_each, two_workers};

/// A paused process is noticed within 2 s. A busy machine takes somewhat longer.
const NOTICE: Duration = Duration::from_secs(3);
/// By then a peer that does not answer gets no more calls.
const HELD: Duration = Duration::from_millis(1500);
/// How long a process is paused.
const PAUSE: Duration = Duration::from_secs(6);
/// Calls go to this worker if it is valid.
const PREFER: &str = "- default:\n  - workers: [worker-2, worker]\n";
const RECOVERY: Duration = Duration::from_secs(30);

/// A call, and when it was made and answered.
struct Timed {
    start: Instant,
    end: Instant,
    answer: Answer,
}

fn call(user: &Client, function: &'static str, gate: &Gate) -> JoinHandle<Timed> {
    let (user, args) = (user.clone(), json!({ "url": gate.url() }));
    tokio::spawn(async move {
        let start = Instant::now();
        let answer = user.invoke("_", function, args).await;
        Timed { start, end: Instant::now(), answer }
    })
}

async fn ended(calls: Vec<JoinHandle<Timed>>) -> Vec<Timed> {
    let calls = futures::future::join_all(calls).await;
    calls.into_iter().map(|call| call.expect("no panic")).collect()
}

/// Makes a call every 50 ms until the pause has lasted for [`PAUSE`].
async fn calls_during(pause: &Paused, user: &Client, function: &'static str, gate: &Gate) -> Vec<Timed> {
    let (mut ticks, mut calls) = (tokio::time::interval(Duration::from_millis(50)), Vec::new());
    while pause.since.elapsed() < PAUSE {
        ticks.tick().await;
        calls.push(call(user, function, gate));
    }
    ended(calls).await
}

/// Prints when calls ended that did not succeed, after the beginning of the pause.
#[expect(clippy::print_stderr, reason = "a figure of the test")]
fn show(what: &str, pause: &Paused, calls: &[Timed]) {
    let failed = || calls.iter().filter(|call| call.answer.status != 200);
    let last = failed().map(|call| call.end - pause.since).max();
    let last_start = failed().map(|call| call.start.saturating_duration_since(pause.since)).max();
    let longest = calls.iter().map(|call| call.end - call.start).max();
    let (count, of) = (failed().count(), calls.len());
    eprintln!(
        "{what}: {count} of {of} failed; last made {last_start:?}, last end {last:?}; longest {longest:?}"
    );
}

/// Calls on the paused worker fail in time unless their function is idempotent. What was not sent to it runs
/// elsewhere, and what it had not read does not start when it continues.
pub async fn a_paused_worker_fails_only_what_it_may_have_run(shape: Shape) {
    const RUNNING: usize = 6;
    let mesh = two_workers(shape).await;
    let user = mesh.user();
    let (once, often, quick) = (Gate::start().await, Gate::start().await, Gate::start().await);
    quick.open();
    create_callers(&user).await;

    let once_running: Vec<_> = (0..RUNNING).map(|_| call(&user, "once", &once)).collect();
    once.arrived(RUNNING).await;
    let once_there = on(&mesh, "worker-2").await;
    let often_running: Vec<_> = (0..RUNNING).map(|_| call(&user, "often", &often)).collect();
    often.arrived(RUNNING).await;
    let often_there = on(&mesh, "worker-2").await - once_there;
    assert!(once_there > 0 && often_there > 0, "{once_there} and {often_there} calls on the worker");

    let pause = Paused::begin(mesh.pid_of("worker-2").await).await;
    let (during, ()) = tokio::join!(calls_during(&pause, &user, "prefers", &quick), async {
        // The idempotent function fails over at once.
        often.arrived(RUNNING + often_there).await;
        assert!(pause.since.elapsed() < NOTICE, "{:?}", pause.since.elapsed());
        often.open();
    });
    once.open();
    let (once_running, often_running) = (ended(once_running).await, ended(often_running).await);
    show("running", &pause, &once_running);
    show("idempotent", &pause, &often_running);
    show("made during the pause", &pause, &during);

    let lost: Vec<_> = once_running.iter().filter(|call| call.answer.status != 200).collect();
    assert_eq!(lost.len(), once_there);
    assert!(often_running.iter().all(|call| call.answer.status == 200));
    let failed: Vec<_> = during.iter().filter(|call| call.answer.status != 200).collect();
    assert!(!failed.is_empty(), "some were sent before the pause was noticed");
    for call in &failed {
        // These may have been read before the pause, for all that the scheduler knows.
        assert!(call.start - pause.since < HELD, "made {:?} after the pause", call.start - pause.since);
    }
    for Timed { end, answer, .. } in lost.into_iter().chain(failed.iter().copied()) {
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(
            answer.detail().contains("worker-2 was lost while it may have been running"),
            "{}",
            answer.text
        );
        assert!(*end - pause.since < NOTICE, "{:?}", *end - pause.since);
    }
    for call in &during {
        assert!(call.end - call.start < NOTICE, "{:?}", call.end - call.start);
    }
    // Each call that succeeded ran once, and no other did.
    let succeeded = during.len() - failed.len();
    quick.arrived(succeeded).await;
    drop(pause);
    wait::until("the worker has joined again", RECOVERY, async || {
        (running_on_each(&mesh).await.len() == 2).then_some(())
    })
    .await;
    assert_eq!(user.invoke("_", "once", json!({ "url": quick.url() })).await.status, 200);
    assert_eq!(quick.arrivals(), succeeded + 1);
    assert_eq!((once.arrivals(), often.arrivals()), (RUNNING, RUNNING + often_there));
}

/// Calls end in time while the scheduler is paused. What was not sent to it is known not to have started, and what it
/// had not read does not start when it continues.
pub async fn a_paused_scheduler_holds_no_calls(shape: Shape) {
    const RUNNING: usize = 4;
    let mesh = Mesh::start(shape).await;
    let user = mesh.user();
    let (closed, quick) = (Gate::start().await, Gate::start().await);
    quick.open();
    user.create_function("_", "caller", &guests::http_caller()).await;
    let running: Vec<_> = (0..RUNNING).map(|_| call(&user, "caller", &closed)).collect();
    closed.arrived(RUNNING).await;

    let pause = Paused::begin(mesh.pid_of("scheduler").await).await;
    let during = calls_during(&pause, &user, "caller", &quick).await;
    let running = ended(running).await;
    show("running", &pause, &running);
    show("made during the pause", &pause, &during);
    for Timed { end, answer, .. } in &running {
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(answer.detail().contains("may have been in work"), "{}", answer.text);
        assert!(*end - pause.since < NOTICE, "{:?}", *end - pause.since);
    }
    for Timed { start, end, answer } in &during {
        assert_eq!(answer.status, 503, "{}", answer.text);
        assert!(*end - *start < NOTICE, "{:?}", *end - *start);
        let not_sent = answer.detail().contains("cannot be reached");
        let made = *start - pause.since;
        assert!(not_sent || made < HELD, "made {made:?} after the pause: {}", answer.text);
    }
    drop(pause);
    wait::until("invocations resume", RECOVERY, async || {
        (call(&user, "caller", &quick).await.expect("no panic").answer.status == 200).then_some(())
    })
    .await;
    assert_eq!(quick.arrivals(), 1, "no call of the pause has started");
}

/// The number of invocations on a worker.
async fn on(mesh: &Mesh, worker: &str) -> usize {
    let on_each = running_on_each(mesh).await;
    on_each.into_iter().find(|(name, _)| name == worker).expect("the worker has joined").1
}

/// Creates functions that call a gate: `once`, the idempotent `often`, and `prefers`, which prefers a worker.
async fn create_callers(user: &Client) {
    let script = Upload::default().text("name", "prefer").file("file", PREFER.as_bytes());
    user.post_form("/v1/scripts/app", script).await.expect(201);
    for (name, metadata) in [
        ("once", json!({})),
        ("often", json!({ "idempotent": true })),
        ("prefers", json!({ "script": "prefer" })),
    ] {
        let upload = Upload::function(name, &guests::http_caller()).text("metadata", metadata.to_string());
        user.post_form("/v1/fn/_", upload).await.expect(201);
    }
}
