//! What the worker tells of its load: to schedulers in reports, to Prometheus on its page.

use std::collections::BTreeMap;

use mesh::testing::{Served, eventually};
use proto::scheduler::v1::{Report, WorkerLoad};
use proto::worker::v1::ExecuteRequest;
use proto::worker::v1::execution_client::ExecutionClient;
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http::{requesting, return_status};
use crate::support::Worker;
use crate::support::guests::respond;
use crate::support::scheduler::Scheduler;

const TOTAL: u64 = 64 << 20;
/// What a guest of these tests has: two pages.
const GUEST: u64 = 128 << 10;

/// A worker, who hears of it, and a web server that answers nobody until it is told to.
struct Stage {
    worker: Worker,
    scheduler: Scheduler,
    /// Invokes what waits for the web server.
    waiting: ExecuteRequest,
    open: watch::Sender<bool>,
    _gate: Served,
    _dir: TempDir,
}

/// The number of running invocations and their capacity in KB, by scheduler and tag.
type Running = BTreeMap<(String, String), (u32, u64)>;

impl Stage {
    async fn start() -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let scheduler = Scheduler::start(dir.path().join("scheduler")).await;
        let endpoint = scheduler.endpoint();
        let worker = Worker::start_with(|config| {
            config.schedulers = vec![endpoint];
            config.total_memory_bytes = Some(TOTAL);
            config.max_concurrent = 64;
        })
        .await;
        let open = watch::Sender::new(false);
        let mut opens = open.subscribe();
        let router = axum::Router::new().fallback(async move || {
            // Whoever waits when the test ends gets an answer too.
            let _ = opens.wait_for(|open| *open).await;
        });
        let gate = Served::start(router).await;
        let url = gate.endpoint.to_string();
        let waiting = worker.request(&requesting(0, &url, "", "", &return_status()), "");
        Self { worker, scheduler, waiting, open, _gate: gate, _dir: dir }
    }

    /// Runs `request` for a scheduler with a tag.
    fn run(&self, request: &ExecuteRequest, scheduler_id: &str, tag: &str, kb: u64) -> JoinHandle<()> {
        let request = ExecuteRequest {
            scheduler_id: scheduler_id.into(),
            tag: tag.into(),
            capacity_kb: kb,
            ..request.clone()
        };
        let mut client: ExecutionClient<_> = self.worker.client();
        tokio::spawn(async move {
            let _ = client.execute(request).await;
        })
    }

    /// Waits until the worker tells that just this runs, all of it in instances of their own.
    async fn tells(&self, what: &str, expected: &[(&str, &str, u32, u64)]) -> WorkerLoad {
        let expected: Running = expected
            .iter()
            .map(|&(scheduler, tag, running, kb)| ((scheduler.into(), tag.into()), (running, kb)))
            .collect();
        let guests = expected.values().map(|(running, _)| u64::from(*running) * GUEST).sum::<u64>();
        let last = || self.scheduler.last_report().as_ref().map(load_of);
        eventually(what, || async {
            last().is_some_and(|load| running(&load) == expected && load.memory_guests == guests)
        })
        .await;
        last().expect("there was one")
    }
}

fn load_of(report: &Report) -> WorkerLoad {
    report.load.clone().expect("each report tells the load")
}

fn running(load: &WorkerLoad) -> Running {
    let by_key: Running = load
        .work
        .iter()
        .map(|work| ((work.scheduler_id.clone(), work.tag.clone()), (work.running, work.capacity_kb)))
        .collect();
    assert_eq!(by_key.len(), load.work.len(), "one entry for each scheduler and tag: {load:?}");
    assert_eq!(load.work.iter().map(|work| work.running).sum::<u32>(), load.running);
    by_key
}

#[tokio::test]
async fn what_runs_is_told_by_scheduler_and_tag() {
    let stage = Stage::start().await;
    let runs: Vec<_> = [("a", "t", 64), ("a", "t", 100), ("a", "", 1), ("b", "t", 7)]
        .into_iter()
        .map(|(scheduler, tag, kb)| stage.run(&stage.waiting, scheduler, tag, kb))
        .collect();
    let load = stage.tells("all run", &[("a", "t", 2, 164), ("a", "", 1, 1), ("b", "t", 1, 7)]).await;
    assert_eq!(load.running, 4);
    assert_eq!(load.memory_total, TOTAL);
    assert!(load.memory_available <= TOTAL - load.memory_guests, "{load:?}");
    stage.open.send_replace(true);
    for run in runs {
        run.await.expect("no panic");
    }
    stage.tells("none runs", &[]).await;
}

/// Invocations end, fail, are refused and are given up, all at once: each report is right in itself, and
/// what is left is exactly what still runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counts_are_exact_however_invocations_end() {
    let stage = Stage::start().await;
    let quick = stage.worker.request(&respond("1"), "");
    let broken = ExecuteRequest { code: None, ..quick.clone() };
    let kept: Vec<_> = (0..6).map(|_| stage.run(&stage.waiting, "a", "kept", 3)).collect();
    let given_up: Vec<_> = (0..30).map(|_| stage.run(&stage.waiting, "b", "given up", 5)).collect();
    stage.tells("all wait", &[("a", "kept", 6, 18), ("b", "given up", 30, 150)]).await;

    let mut ending = Vec::new();
    for (number, given_up) in given_up.into_iter().enumerate() {
        let tag = ["t", "u", "v"][number % 3];
        ending.extend((0..6).map(|_| stage.run(&quick, "a", tag, 64)));
        ending.push(stage.run(&broken, "b", tag, 64));
        given_up.abort();
    }
    for run in ending {
        run.await.expect("no panic");
    }
    stage.tells("only those that wait are left", &[("a", "kept", 6, 18)]).await;
    kept.iter().for_each(JoinHandle::abort);
    stage.tells("none runs", &[]).await;

    let heard = stage.scheduler.heard.lock();
    for ((_, tag), (running, kb)) in heard.reports.iter().flat_map(|report| running(&load_of(report))) {
        let each = match tag.as_str() {
            "kept" => 3,
            "given up" => 5,
            _ => 64,
        };
        assert_eq!(kb, u64::from(running) * each, "{tag}");
    }
}

/// Matches what runs while Prometheus asks, and each series says whose it is.
#[tokio::test]
async fn prometheus_reads_the_same() {
    let stage = Stage::start().await;
    let run = stage.run(&stage.waiting, "a", "t", 64);
    stage.tells("it runs", &[("a", "t", 1, 64)]).await;
    let page = || {
        let encoder = prometheus::TextEncoder::new();
        encoder.encode_to_string(&stage.worker.host.metrics.gather()).expect("text")
    };
    let value = |page: &str, name: &str, labels: &str| -> f64 {
        let series = format!("funless_worker_{name}{{{labels}worker=\"worker-1\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("{series} in {page}")).parse().expect("a number")
    };
    let during = page();
    let is = |name: &str| value(&during, name, "");
    assert_eq!((is("invocations_running"), is("guest_memory_bytes")), (1.0, GUEST as f64));
    assert_eq!(value(&during, "tag_invocations_running", "tag=\"t\","), 1.0);
    assert_eq!(is("memory_total_bytes"), TOTAL as f64);
    assert!(is("memory_available_bytes") <= (TOTAL - GUEST) as f64);
    assert!(is("memory_free_bytes") <= (TOTAL - GUEST) as f64);
    assert!(is("cpus") >= 1.0);
    assert!((0.0..=1.0).contains(&is("cpu_use_ratio")));
    for load in ["load1", "load5", "load15"] {
        assert!(is(load) >= 0.0);
    }
    run.abort();
    stage.tells("none runs", &[]).await;
    let after = page();
    assert_eq!(value(&after, "invocations_running", ""), 0.0);
    assert_eq!(value(&after, "tag_invocations_running", "tag=\"t\","), 0.0);
}

/// The machine that runs this test does so.
#[tokio::test]
async fn the_use_of_the_cpus_is_measured() {
    let stage = Stage::start().await;
    eventually("some of the CPUs is in use", || async {
        let load = stage.scheduler.last_report().map(|report| load_of(&report));
        load.is_some_and(|load| load.cpu_use > 0.0 && load.cpu_use <= 1.0)
    })
    .await;
}
