//! A mesh that produces data for all queries.

use std::time::{Duration, Instant};

use http::Method;
use serde_json::json;
use tests::client::{self, Upload};
use tests::collector::Collector;
use tests::gate::Gate;
use tests::process::free_port;
use tests::servers::{Couch, Mosquitto, Prometheus};
use tests::{Client, Mesh, Shape, guests, wait};

use crate::{documented, queries};

/// How long to wait for data.
const LIMIT: Duration = Duration::from_secs(120);

/// The mesh and its servers.
struct Scene {
    _mesh: Mesh,
    user: Client,
    collector: Collector,
    broker: Mosquitto,
    store: Couch,
    /// An open gate.
    gate: Gate,
    /// A closed gate: functions that call it run until the end of the test.
    closed: Gate,
    /// The addresses of the metrics, `host:port`.
    targets: Vec<String>,
    steps: usize,
}

impl Scene {
    async fn start(shape: Shape) -> Self {
        let (collector, gate) = tokio::join!(Collector::start(), Gate::start());
        let closed = Gate::start().await;
        let (broker, store) = tokio::join!(Mosquitto::start(), Couch::start());
        let mesh = Mesh::start_with(shape, &["--otlp-endpoint", &collector.url()]).await;
        let targets = mesh.admin_addresses();
        gate.open();
        let user = mesh.user();
        let scene = Self { _mesh: mesh, user, collector, broker, store, gate, closed, targets, steps: 0 };
        scene.create_functions().await;
        scene
    }

    async fn create_functions(&self) {
        let database = self.store.create_database("results").await;
        let events = |topic: &str| {
            let params = json!({
                "host": "127.0.0.1", "port": self.broker.port(), "topic": topic, "max_attempts": 2,
            });
            json!([{ "type": "mqtt", "params": params }]).to_string()
        };
        let sinks = |kind: &str, url: &str| json!([{ "type": kind, "params": { "url": url } }]).to_string();
        let create = async |upload: Upload| {
            let answer = self.user.post_form("/v1/fn/_", upload).await;
            assert!(matches!(answer.status, 201 | 207), "{} {}", answer.status, answer.text);
        };
        let hello = Upload::function("hello", &guests::hello());
        create(hello.text("events", events("hello")).text("sinks", sinks("couchdb", &database))).await;
        // No worker has this much memory, in KB.
        let metadata = json!({ "capacity": 1_u64 << 32 }).to_string();
        let heavy = Upload::function("heavy", &guests::responding(b"1"));
        create(heavy.text("events", events("heavy")).text("metadata", metadata)).await;
        // A port on which nothing listens.
        let nowhere = format!("http://127.0.0.1:{}/", free_port());
        let lost = Upload::function("lost", &guests::responding(b"1"));
        create(lost.text("sinks", sinks("webhook", &nowhere))).await;
        create(Upload::function("failing", &guests::failing(b"no"))).await;
        create(Upload::function("trapping", &guests::trapping())).await;
        create(Upload::function("fresh", &guests::responding(b"0"))).await;
        create(Upload::function("caller", &guests::http_caller())).await;
        self.broker.publish("heavy", "{}");
        self.user.invoke("_", "lost", json!({})).await.expect(200);
        let call = json!({ "args": { "url": self.closed.url() } });
        let call = self.user.request(Method::POST, "/v1/fn/_/caller").json(&call);
        tokio::spawn(call.send());
        self.closed.arrived(1).await;
    }

    /// Invokes functions with all kinds of outcomes, and publishes an event.
    async fn step(&mut self) {
        self.steps += 1;
        let code = guests::responding(self.steps.to_string().as_bytes());
        self.user.update_function("_", "fresh", &code).await;
        self.broker.publish("hello", r#"{"name":"Ann"}"#);
        let call = json!({ "url": self.gate.url() });
        for (function, args, status) in [
            ("hello", json!({ "name": "Bob" }), 200),
            ("fresh", json!({}), 200),
            ("caller", call, 200),
            ("trapping", json!({}), 500),
            ("heavy", json!({}), 503),
        ] {
            self.user.invoke("_", function, args).await.expect(status);
        }
        let answer = self.user.invoke("_", "failing", json!({})).await;
        assert!(answer.status >= 400, "{}", answer.text);
        self.user.get("/v1/fn").await.expect(200);
    }

    /// The metrics pages of all processes.
    async fn pages(&self) -> Vec<String> {
        let mut pages = Vec::new();
        for target in &self.targets {
            let page =
                client::http().get(format!("http://{target}/metrics")).send().await.expect("a response");
            assert!(page.headers()["content-type"].to_str().is_ok_and(|it| it.starts_with("text/plain")));
            pages.push(page.text().await.expect("a text"));
        }
        pages
    }
}

pub async fn admin_endpoints_answer(shape: Shape) {
    let mut scene = Scene::start(shape).await;
    let prometheus = Prometheus::start_with_rules(&scene.targets).await;

    let mut unanswered = queries::all();
    assert!(unanswered.len() > 100, "expected more queries: {}", unanswered.len());
    let started = Instant::now();
    while !unanswered.is_empty() && started.elapsed() < LIMIT {
        scene.step().await;
        let mut still = Vec::new();
        for query in unanswered {
            if !has_data(&prometheus, &query.expression).await {
                still.push(query);
            }
        }
        unanswered = still;
    }
    wait::until("all targets are scraped", LIMIT, async || {
        prometheus.unscraped().await.is_empty().then_some(())
    })
    .await;
    let problems: Vec<_> = unanswered.iter().map(ToString::to_string).collect();
    let problems = documented::problems(&scene.pages().await).into_iter().chain(problems);
    let problems: Vec<_> = problems.collect();
    assert!(problems.is_empty(), "after {:?}:\n{}", started.elapsed(), problems.join("\n"));

    exemplars_lead_to_traces(&prometheus, &scene).await;
}

/// Whether the query returns a number.
async fn has_data(prometheus: &Prometheus, query: &str) -> bool {
    let series = prometheus.query(query).await.unwrap_or_else(|error| panic!("{query}: {error}"));
    let values = series.iter().filter_map(|series| series["value"][1].as_str());
    values.filter_map(|value| value.parse::<f64>().ok()).any(|value| !value.is_nan())
}

async fn exemplars_lead_to_traces(prometheus: &Prometheus, scene: &Scene) {
    for histogram in [
        "funless_http_request_duration_seconds_bucket",
        "funless_rpc_server_duration_seconds_bucket",
        "funless_scheduler_invocation_duration_seconds_bucket{function=\"_/hello\"}",
    ] {
        let what = format!("{histogram} has exemplars, and their traces exist");
        wait::until(&what, LIMIT, async || {
            let exemplars = prometheus.exemplars(histogram).await;
            let ids = exemplars.iter().filter_map(|exemplar| exemplar["labels"]["trace_id"].as_str());
            let spans = scene.collector.spans();
            let mut known = ids.map(|id| spans.iter().any(|span| span.trace_id == id));
            (!exemplars.is_empty() && known.all(|known| known)).then_some(())
        })
        .await;
    }
}
