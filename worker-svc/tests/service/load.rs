//! The worker's load, in reports to schedulers and in metrics.

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
/// The linear memory of a guest in these tests: two pages.
const PAGES: u64 = 128 << 10;

/// A worker, its scheduler, and a web server that holds back its responses until `open` is set.
struct Fixture {
    worker: Worker,
    scheduler: Scheduler,
    /// Invokes a function that waits for the web server.
    waiting: ExecuteRequest,
    /// The memory of a guest that waits: its pages, its arguments, and the URI of its request.
    guest_bytes: u64,
    open: watch::Sender<bool>,
    _gate: Served,
    _dir: TempDir,
}

/// The number of running invocations and their capacity in KB, by scheduler and tag.
type Running = BTreeMap<(String, String), (u32, u64)>;

impl Fixture {
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
            // Requests that wait when the test ends get a response, too.
            let _ = opens.wait_for(|open| *open).await;
        });
        let gate = Served::start(router).await;
        let url = gate.endpoint.to_string();
        let waiting = worker.request(&requesting(0, &url, "", "", &return_status()), "");
        let guest_bytes = PAGES + "{}".len() as u64 + url.len() as u64;
        Self { worker, scheduler, waiting, guest_bytes, open, _gate: gate, _dir: dir }
    }

    /// Runs `request` for this scheduler and tag.
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

    /// Waits until the worker reports exactly these running invocations, each with an instance.
    async fn reports(&self, what: &str, expected: &[(&str, &str, u32, u64)]) -> WorkerLoad {
        let expected: Running = expected
            .iter()
            .map(|&(scheduler, tag, running, kb)| ((scheduler.into(), tag.into()), (running, kb)))
            .collect();
        let guests =
            expected.values().map(|(running, _)| u64::from(*running) * self.guest_bytes).sum::<u64>();
        let last = || self.scheduler.last_report().as_ref().map(load_of);
        eventually(what, || async {
            last().is_some_and(|load| running(&load) == expected && load.memory_guests == guests)
        })
        .await;
        last().expect("there was one")
    }
}

fn load_of(report: &Report) -> WorkerLoad {
    report.load.clone().expect("each report has a load")
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
async fn running_invocations_are_reported_by_scheduler_and_tag() {
    let fixture = Fixture::start().await;
    let runs: Vec<_> = [("a", "t", 64), ("a", "t", 100), ("a", "", 1), ("b", "t", 7)]
        .into_iter()
        .map(|(scheduler, tag, kb)| fixture.run(&fixture.waiting, scheduler, tag, kb))
        .collect();
    let load = fixture.reports("all run", &[("a", "t", 2, 164), ("a", "", 1, 1), ("b", "t", 1, 7)]).await;
    assert_eq!(load.running, 4);
    assert_eq!(load.memory_total, TOTAL);
    assert!(load.memory_available <= TOTAL - load.memory_guests, "{load:?}");
    fixture.open.send_replace(true);
    for run in runs {
        run.await.expect("no panic");
    }
    fixture.reports("none runs", &[]).await;
}

/// Invocations end, fail, are refused and are cancelled at the same time: each report is consistent, and the
/// last one has exactly those that still run.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn counts_are_exact_however_invocations_end() {
    let fixture = Fixture::start().await;
    let quick = fixture.worker.request(&respond("1"), "");
    let broken = ExecuteRequest { code: None, ..quick.clone() };
    let kept: Vec<_> = (0..6).map(|_| fixture.run(&fixture.waiting, "a", "kept", 3)).collect();
    let cancelled: Vec<_> = (0..30).map(|_| fixture.run(&fixture.waiting, "b", "cancelled", 5)).collect();
    fixture.reports("all wait", &[("a", "kept", 6, 18), ("b", "cancelled", 30, 150)]).await;

    let mut ending = Vec::new();
    for (number, cancelled) in cancelled.into_iter().enumerate() {
        let tag = ["t", "u", "v"][number % 3];
        ending.extend((0..6).map(|_| fixture.run(&quick, "a", tag, 64)));
        ending.push(fixture.run(&broken, "b", tag, 64));
        cancelled.abort();
    }
    for run in ending {
        run.await.expect("no panic");
    }
    fixture.reports("only the waiting ones are left", &[("a", "kept", 6, 18)]).await;
    kept.iter().for_each(JoinHandle::abort);
    fixture.reports("none runs", &[]).await;

    let received = fixture.scheduler.received.lock();
    for ((_, tag), (running, kb)) in received.reports.iter().flat_map(|report| running(&load_of(report))) {
        let each = match tag.as_str() {
            "kept" => 3,
            "cancelled" => 5,
            _ => 64,
        };
        assert_eq!(kb, u64::from(running) * each, "{tag}");
    }
}

/// Each time series has the label `worker`.
#[tokio::test]
async fn metrics_agree_with_reports() {
    let fixture = Fixture::start().await;
    let run = fixture.run(&fixture.waiting, "a", "t", 64);
    fixture.reports("it runs", &[("a", "t", 1, 64)]).await;
    let page = || {
        let encoder = prometheus::TextEncoder::new();
        encoder.encode_to_string(&fixture.worker.host.metrics.gather()).expect("text")
    };
    let value = |page: &str, name: &str, labels: &str| -> f64 {
        let series = format!("funless_worker_{name}{{{labels}worker=\"worker-1\"}} ");
        let line = page.lines().find_map(|line| line.strip_prefix(&series));
        line.unwrap_or_else(|| panic!("{series} in {page}")).parse().expect("a number")
    };
    let during = page();
    let is = |name: &str| value(&during, name, "");
    assert_eq!((is("invocations_running"), is("guest_memory_bytes")), (1.0, fixture.guest_bytes as f64));
    assert_eq!(value(&during, "tag_invocations_running", "tag=\"t\","), 1.0);
    assert_eq!(is("memory_total_bytes"), TOTAL as f64);
    assert!(is("memory_available_bytes") <= (TOTAL - fixture.guest_bytes) as f64);
    assert!(is("memory_free_bytes") <= (TOTAL - fixture.guest_bytes) as f64);
    assert!(is("cpus") >= 1.0);
    assert!((0.0..=1.0).contains(&is("cpu_use_ratio")));
    for load in ["load1", "load5", "load15"] {
        assert!(is(load) >= 0.0);
    }
    run.abort();
    fixture.reports("none runs", &[]).await;
    let after = page();
    assert_eq!(value(&after, "invocations_running", ""), 0.0);
    assert_eq!(value(&after, "tag_invocations_running", "tag=\"t\","), 0.0);
}

/// The machine is busy with this test.
#[tokio::test]
async fn cpu_use_is_reported() {
    let fixture = Fixture::start().await;
    eventually("some CPU time is used", || async {
        let load = fixture.scheduler.last_report().map(|report| load_of(&report));
        load.is_some_and(|load| load.cpu_use > 0.0 && load.cpu_use <= 1.0)
    })
    .await;
}
