//! Workers that are scraped by a real Prometheus, and a scheduler that uses its measurements.

use std::time::Duration;

use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::{InvokeRequest, ListWorkersRequest, ListWorkersResponse, MetricsSource};
use serde_json::json;
use tests::servers::Prometheus;
use tests::{ExtraScheduler, ExtraWorker, Mesh, Shape, guests, wait};

const SHAPE: Shape = Shape { name: "measured", postgres: false, ..Shape::SIX_PROCESSES };
const LIMIT: Duration = Duration::from_secs(60);

const LITTLE: u64 = 100_000_000;
const MUCH: u64 = 200_000_000;

/// Swaps the metrics of `poor` and `rich`, so that Prometheus and the workers' reports always differ.
const SWAP: &str = r#"[
  { source_labels: [ worker ], regex: poor, target_label: swapped, replacement: rich },
  { source_labels: [ worker ], regex: rich, target_label: swapped, replacement: poor },
  { source_labels: [ swapped ], regex: (.+), target_label: worker },
  { action: labeldrop, regex: swapped } ]"#;

/// A scheduler that uses Prometheus as its metrics source, and its two workers.
struct Scene {
    mesh: Mesh,
    prometheus: Prometheus,
    scheduler: ExtraScheduler,
    workers: [ExtraWorker; 2],
}

impl Scene {
    async fn start() -> Self {
        let prometheus = Prometheus::start_relabelling(&[], SWAP).await;
        let mesh = Mesh::start(SHAPE).await;
        let settings = [
            ("metrics_source", "prometheus"),
            ("prometheus_url", &prometheus.url()),
            ("prometheus_interval_ms", "1000"),
        ];
        let scheduler = ExtraScheduler::start(&mesh, "scheduler-2", &settings).await;
        let worker = async |name: &str, total: u64| {
            let (schedulers, total) = (format!("[{:?}]", scheduler.address()), total.to_string());
            let settings = [("schedulers", &*schedulers), ("total_memory_bytes", &*total)];
            ExtraWorker::start(&mesh, name, &settings).await
        };
        let workers = [worker("poor", LITTLE).await, worker("rich", MUCH).await];
        Self { mesh, prometheus, scheduler, workers }
    }

    async fn list(&self) -> ListWorkersResponse {
        let client = ClusterClient::new(self.scheduler.channel());
        client.clone().list_workers(ListWorkersRequest {}).await.expect("a list").into_inner()
    }

    /// Waits until the memory of `poor` and `rich` is known from `source`, and until the reported problem
    /// starts with `problem`, or there is none if `problem` is empty.
    async fn known(&self, source: MetricsSource, totals: [u64; 2], problem: &str) {
        let what = format!("the workers have {totals:?} from {source:?} and the problem is {problem:?}");
        wait::until(&what, LIMIT, async || {
            let ListWorkersResponse { workers, metrics_problem } = self.list().await;
            let known: Vec<_> =
                workers.iter().map(|worker| (worker.metrics_source(), worker.memory_total)).collect();
            let told = match problem {
                "" => metrics_problem.is_empty(),
                problem => metrics_problem.starts_with(problem),
            };
            (known == totals.map(|total| (source, total)) && told).then_some(())
        })
        .await;
        let gauge = format!(
            "\nfunless_scheduler_metrics_problem{{service=\"scheduler\"}} {}\n",
            u8::from(!problem.is_empty())
        );
        let page = self.scheduler.metrics().await;
        assert!(page.contains(&gauge), "{page}");
    }

    /// The worker that the default policy chooses for an invocation.
    async fn chosen(&self) -> String {
        let request = InvokeRequest { module: "_".into(), function: "f".into(), ..InvokeRequest::default() };
        let client = InvocationsClient::new(self.scheduler.channel());
        // The scheduler learns about the function from the registry's watch.
        let response = wait::until("the function is known", LIMIT, async || {
            client.clone().invoke(request.clone()).await.ok()
        });
        response.await.into_inner().worker
    }

    /// How often the scheduler has logged that a problem began, and that one ended.
    fn logged_problems(&self) -> [usize; 2] {
        let log = self.scheduler.log();
        ["WARN", "INFO"].map(|level| {
            let lines = log.lines().filter(|line| line.contains(level));
            lines.filter(|line| line.contains("measurements are ")).count()
        })
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_scheduler_uses_prometheus_while_it_is_available() {
    let mut scene = Scene::start().await;
    scene.mesh.user().create_function("_", "f", &guests::responding(b"1")).await;
    scene.known(MetricsSource::Reports, [LITTLE, MUCH], "").await;
    assert_eq!(scene.chosen().await, "rich");

    let targets = scene.workers.each_ref().map(ExtraWorker::admin);
    scene.prometheus.scrape(&targets);
    scene.known(MetricsSource::Prometheus, [MUCH, LITTLE], "").await;
    assert_eq!(scene.chosen().await, "poor", "it has more memory according to Prometheus");
    // The other measurements are from Prometheus, too.
    for worker in scene.list().await.workers {
        assert!(worker.memory_available > worker.memory_total / 2, "{worker:?}");
        assert!((0.0..=1.0).contains(&worker.cpu_use), "{worker:?}");
    }

    let [began, ended] = scene.logged_problems();
    scene.prometheus.stop().await;
    scene.known(MetricsSource::Reports, [LITTLE, MUCH], "Prometheus is away").await;
    assert_eq!(scene.chosen().await, "rich");
    assert_eq!(scene.logged_problems(), [began + 1, ended], "{}", scene.scheduler.log());

    scene.prometheus.start_again().await;
    scene.known(MetricsSource::Prometheus, [MUCH, LITTLE], "").await;
    assert_eq!(scene.chosen().await, "poor");
    assert_eq!(scene.logged_problems(), [began + 1, ended + 1], "{}", scene.scheduler.log());

    // Reports are used for a worker that is no longer scraped, but not for the other one.
    scene.prometheus.scrape(&targets[1..]);
    wait::until("the reports of one worker are used", LIMIT, async || {
        let ListWorkersResponse { workers, metrics_problem } = scene.list().await;
        let known = [&workers[0], &workers[1]].map(|worker| (worker.metrics_source(), worker.memory_total));
        let expected = [(MetricsSource::Prometheus, MUCH), (MetricsSource::Reports, MUCH)];
        (known == expected && metrics_problem.starts_with("Prometheus lacks 1 of 2 workers")).then_some(())
    })
    .await;
}

/// Prometheus has the workers' metrics under the names that documentation and dashboards use.
#[tokio::test(flavor = "multi_thread")]
async fn prometheus_has_the_workers_metrics() {
    let mesh = Mesh::start(SHAPE).await;
    let worker = ExtraWorker::start(&mesh, "edge-1", &[]).await;
    let prometheus = Prometheus::start(&[worker.admin()]).await;
    let names = [
        "memory_total_bytes",
        "memory_available_bytes",
        "memory_free_bytes",
        "guest_memory_bytes",
        "load1",
        "load5",
        "load15",
        "cpus",
        "cpu_use_ratio",
        "invocations_running",
    ];
    let query = "/api/v1/query?query={worker=\"edge-1\"}";
    wait::until("all metrics exist", LIMIT, async || {
        let answer = tests::client::http().get(format!("{}{query}", prometheus.url())).send().await.ok()?;
        let answer: serde_json::Value = answer.json().await.ok()?;
        let series = answer["data"]["result"].as_array()?;
        let has = |name: &&str| {
            let name = json!(format!("funless_worker_{name}"));
            series.iter().any(|series| series["metric"]["__name__"] == name)
        };
        names.iter().all(has).then_some(())
    })
    .await;
}
