//! Memory and CPU of the workers from a Prometheus server, which answers oddly in every way.

use std::collections::HashMap;
use std::sync::Arc;

use axum::extract::{Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use mesh::testing::{Served, eventually};
use parking_lot::Mutex;
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::{ListWorkersRequest, ListWorkersResponse, MetricsSource, WorkerState};
use scheduler_svc::Config;

use crate::support::{FakeWorker, Stage, function, invocation_of};

const INTERVAL_MS: u64 = 200;

/// What a server does that is asked.
#[derive(Debug, Clone)]
enum Behaviour {
    /// Has these samples: worker, memory available in KB, CPU use; so many seconds old.
    Has(Vec<(&'static str, u64, &'static str)>, f64),
    Answers(u16, String),
    AnswersWithout(usize),
    Hangs,
}

use Behaviour::{Answers, AnswersWithout, Hangs, Has};

#[derive(Clone)]
struct FakePrometheus {
    behaviour: Arc<Mutex<Behaviour>>,
    queries: Arc<Mutex<Vec<String>>>,
}

impl FakePrometheus {
    async fn start() -> (Self, Served) {
        let behaviour = Arc::new(Mutex::new(Has(Vec::new(), 0.0)));
        let this = Self { behaviour, queries: Arc::default() };
        let router = axum::Router::new().route("/prefix/api/v1/query", get(answer)).with_state(this.clone());
        let served = Served::start(router).await;
        (this, served)
    }

    fn behave(&self, behaviour: Behaviour) {
        *self.behaviour.lock() = behaviour;
    }
}

async fn answer(
    State(this): State<FakePrometheus>,
    Query(parameters): Query<HashMap<String, String>>,
) -> Response {
    this.queries.lock().push(parameters["query"].clone());
    let behaviour = this.behaviour.lock().clone();
    match behaviour {
        Has(workers, age) => {
            answer_with(&workers, mesh::clock::now_ms() as f64 / 1000.0 - age).into_response()
        }
        Answers(status, body) => (StatusCode::from_u16(status).expect("a status"), body).into_response(),
        AnswersWithout(size) => vec![b' '; size].into_response(),
        Hangs => std::future::pending().await,
    }
}

fn answer_with(workers: &[(&str, u64, &str)], at: f64) -> String {
    let before = at - 0.1;
    let series = |worker: &str, name: &str, value: &str| {
        format!(
            r#"{{"metric":{{"__name__":"funless_worker_{name}","worker":"{worker}","instance":"i:1"}},
                 "values":[[{before},"0"],[{at},"{value}"]]}}"#
        )
    };
    let all = workers.iter().flat_map(|(worker, available_kb, cpu_use)| {
        [
            series(worker, "memory_total_bytes", "2e+09"),
            series(worker, "memory_available_bytes", &(available_kb * 1024).to_string()),
            series(worker, "guest_memory_bytes", "0"),
            series(worker, "cpu_use_ratio", cpu_use),
        ]
    });
    let all = all.collect::<Vec<_>>().join(",");
    format!(r#"{{"status":"success","data":{{"resultType":"matrix","result":[{all}]}}}}"#)
}

/// A scheduler that asks a server, and two workers: by their reports `v` has less than `w`.
struct Scene {
    stage: Stage,
    prometheus: FakePrometheus,
    served: Served,
    _workers: [FakeWorker; 2],
}

impl Scene {
    async fn start() -> Self {
        let (prometheus, served) = FakePrometheus::start().await;
        let stage = Stage::start_with(Config {
            metrics_source: scheduler_svc::MetricsSource::Prometheus,
            prometheus_url: format!("{}/prefix/", served.endpoint).parse().ok(),
            prometheus_interval_ms: INTERVAL_MS,
            // The workers of these tests report once.
            report_interval_ms: 60_000,
            ..Config::default()
        })
        .await;
        let workers = [stage.worker("v", 1000).await, stage.worker("w", 2000).await];
        Self { stage, prometheus, served, _workers: workers }
    }

    async fn list(&self) -> ListWorkersResponse {
        let list = ClusterClient::new(self.stage.channel.clone()).list_workers(ListWorkersRequest {}).await;
        list.expect("a list").into_inner()
    }

    /// Waits until the workers are known in this way, and a problem is told that starts like this.
    async fn known(&self, expected: [(MetricsSource, u64, f64); 2], problem: &str) {
        let what = format!("the workers are {expected:?} and the problem is {problem:?}");
        eventually(&what, || async {
            let list = self.list().await;
            let known: Vec<_> = list.workers.iter().map(known).collect();
            let as_bad = match problem {
                "" => list.metrics_problem.is_empty(),
                problem => list.metrics_problem.starts_with(problem),
            };
            let gauge = self.stage.metric("funless_scheduler_metrics_problem");
            known == expected && as_bad && gauge == f64::from(u8::from(!problem.is_empty()))
        })
        .await;
    }
}

fn known(state: &WorkerState) -> (MetricsSource, u64, f64) {
    (state.metrics_source(), state.memory_available >> 10, state.cpu_use)
}

const BY_REPORTS: [(MetricsSource, u64, f64); 2] =
    [(MetricsSource::Reports, 1000, 0.0), (MetricsSource::Reports, 2000, 0.0)];
const BY_PROMETHEUS: [(MetricsSource, u64, f64); 2] =
    [(MetricsSource::Prometheus, 5000, 0.5), (MetricsSource::Prometheus, 100, 0.25)];

fn good() -> Behaviour {
    Has(vec![("v", 5000, "0.5"), ("w", 100, "0.25"), ("stranger", 9000, "0")], 0.0)
}

#[tokio::test]
async fn measurements_of_prometheus_decide() {
    let scene = Scene::start().await;
    let revision = scene.stage.registry.put(function("f"));
    scene.known(BY_REPORTS, "").await;
    let ran_on = async || scene.stage.invoke(invocation_of("f", revision)).await.expect("invoked").worker;
    assert_eq!(ran_on().await, "w", "it reports more memory");
    scene.prometheus.behave(good());
    scene.known(BY_PROMETHEUS, "").await;
    assert_eq!(ran_on().await, "v", "Prometheus has more of it");
    let queries = scene.prometheus.queries.lock();
    assert!(queries.iter().all(|query| query.ends_with("[600ms]")), "{queries:?}");
}

#[tokio::test]
async fn unusable_answers_leave_the_reports() {
    let scene = Scene::start().await;
    let away = |reason: &str| format!("Prometheus is away, so that the workers' own reports count: {reason}");
    let lacks = |reason: &str| format!("Prometheus lacks {reason}");
    let cases = [
        (Answers(500, "oh".into()), away("answered 500 Internal Server Error")),
        (Answers(302, String::new()), away("answered 302 Found")),
        (Answers(404, "404 page not found".into()), away("answered 404 Not Found")),
        (
            Answers(422, r#"{"status":"error","errorType":"execution","error":"too many"}"#.into()),
            away("answered 422 Unprocessable Entity: too many"),
        ),
        (Answers(200, "<html>".into()), away("its answer cannot be read: expected value at line 1")),
        (AnswersWithout((32 << 20) + 1), away("its answer is larger than 33554432 bytes")),
        (Hangs, away("it did not answer in time")),
        (
            Has(vec![("v", 1, "NaN"), ("w", 1, "-1")], 0.0),
            lacks(
                "2 of 2 workers, whose own reports count: v (funless_worker_cpu_use_ratio is NaN), \
                 w (funless_worker_cpu_use_ratio is -1)",
            ),
        ),
        (
            Has(vec![("v", 1, "0"), ("w", 1, "0")], 60.0),
            lacks(
                "2 of 2 workers, whose own reports count: v (the latest sample is 60 s old), w (the latest",
            ),
        ),
        (Has(vec![], 0.0), lacks("2 of 2 workers, whose own reports count: v (no recent sample of")),
    ];
    for (behaviour, problem) in cases {
        scene.prometheus.behave(good());
        scene.known(BY_PROMETHEUS, "").await;
        scene.prometheus.behave(behaviour);
        scene.known(BY_REPORTS, &problem).await;
    }
    scene.prometheus.behave(Has(vec![("v", 5000, "0.5")], 0.0));
    let one_of_them = "Prometheus lacks 1 of 2 workers, whose own reports count: w (no recent sample of";
    scene.known([BY_PROMETHEUS[0], BY_REPORTS[1]], one_of_them).await;
}

#[tokio::test]
async fn a_server_that_is_away_leaves_the_reports() {
    let Scene { stage, prometheus, served, _workers } = Scene::start().await;
    prometheus.behave(good());
    let (_, elsewhere) = FakePrometheus::start().await;
    let scene = Scene { stage, prometheus, served: elsewhere, _workers };
    scene.known(BY_PROMETHEUS, "").await;
    served.stop().await;
    let gone = "Prometheus is away, so that the workers' own reports count: error sending request: ";
    scene.known(BY_REPORTS, gone).await;
    let problem = scene.list().await.metrics_problem;
    assert!(problem.contains("refused") && !problem.contains("127.0.0.1"), "{problem}");
    drop(scene.served);
}

/// New workers are by their reports until they have been measured; nothing is wrong with that.
#[tokio::test]
async fn reports_of_a_new_worker_count_at_first() {
    let scene = Scene::start().await;
    scene.prometheus.behave(good());
    scene.known(BY_PROMETHEUS, "").await;
    let _third = scene.stage.worker("x", 3000).await;
    let list = scene.list().await;
    assert_eq!(known(&list.workers[2]), (MetricsSource::Reports, 3000, 0.0));
    assert_eq!(list.metrics_problem, "");
    let with_third = Has(vec![("v", 5000, "0.5"), ("w", 100, "0.25"), ("x", 7000, "1")], 0.0);
    scene.prometheus.behave(with_third);
    eventually("it is measured", || async {
        known(&scene.list().await.workers[2]) == (MetricsSource::Prometheus, 7000, 1.0)
    })
    .await;
}
