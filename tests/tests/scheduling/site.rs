//! A mesh with four workers.

use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::{ListWorkersRequest, WorkerState};
use serde_json::{Value, json};
use tests::client::Upload;
use tests::{Answer, Client, ExtraWorker, Mesh, Shape, grpc, guests};

const MIB: u64 = 1 << 20;

/// A mesh with its own worker `worker`, which has all of the machine's memory, and three additional workers.
pub struct Site {
    pub mesh: Mesh,
    pub user: Client,
    workers: Vec<ExtraWorker>,
}

impl Site {
    /// Starts the mesh and the additional workers.
    pub async fn start(shape: Shape) -> Self {
        let mesh = Mesh::start(shape).await;
        let mut workers = Vec::new();
        for (name, tag, mib) in [("edge-1", "edge", 256), ("edge-2", "edge", 512), ("cloud-1", "cloud", 1024)]
        {
            let memory = (mib * MIB).to_string();
            let settings = [("tag", tag), ("total_memory_bytes", memory.as_str()), ("labels.zone", name)];
            workers.push(ExtraWorker::start(&mesh, name, &settings).await);
        }
        let user = mesh.user();
        Self { mesh, user, workers }
    }

    /// Stores a script.
    pub async fn script(&self, name: &str, content: &str) {
        let upload = Upload::default().text("name", name).file("file", content.as_bytes());
        self.user.post_form("/v1/scripts/app", upload).await.expect(201);
    }

    /// Creates a function with this metadata that calls the given URL.
    pub async fn function(&self, name: &str, metadata: Value) {
        let upload = Upload::function(name, &guests::http_caller()).text("metadata", metadata.to_string());
        self.user.post_form("/v1/fn/_", upload).await.expect(201);
    }

    /// Invokes a function with a script. The function calls `url`.
    pub async fn invoke(&self, function: &str, script: &str, url: &str) -> Answer {
        let scheduling = json!({ "language": "app", "script": script });
        let body = json!({ "args": { "url": url }, "scheduling": scheduling });
        self.user.post(&format!("/v1/fn/_/{function}"), &body).await
    }

    /// The explanation of the decision in the response's headers.
    pub async fn explanation(&self, answer: &Answer) -> Value {
        let id = answer.headers.get("x-funless-decision").expect("the response has a decision id");
        let path = format!("/v1/decisions/{}", id.to_str().expect("text"));
        self.user.get(&path).await.expect(200).json()["data"].take()
    }

    /// Invokes a function with a script. Returns the worker that ran it according to the workers' metrics,
    /// and asserts that the explanation agrees.
    pub async fn ran_on(&self, function: &str, script: &str, url: &str) -> String {
        let before = self.ended_on_each().await;
        let answer = self.invoke(function, script, url).await.expect(200);
        let after = self.ended_on_each().await;
        let changed = before.iter().zip(&after).filter(|(before, after)| before != after);
        let changed: Vec<_> = changed.map(|(_, (name, _))| name.clone()).collect();
        let explained = self.explanation(&answer).await;
        assert_eq!(changed, [explained["worker"].as_str().expect("a name")], "{explained}");
        changed[0].clone()
    }

    /// The number of ended invocations on each additional worker, from its metrics.
    async fn ended_on_each(&self) -> Vec<(String, f64)> {
        let mut ended = Vec::new();
        for worker in &self.workers {
            let page = worker.metrics().await;
            let samples = page.lines().filter(|line| line.starts_with("funless_worker_invocations_total{"));
            let values = samples.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
            ended.push((worker.name().to_owned(), values.sum()));
        }
        ended
    }

    /// The workers' states, from the scheduler.
    pub async fn states(&self) -> Vec<WorkerState> {
        let admin = grpc::connect(&self.mesh, self.mesh.admin().token()).await;
        let list = ClusterClient::new(admin).list_workers(ListWorkersRequest {}).await.expect("a list");
        list.into_inner().workers
    }

    /// The number of running invocations by worker, without idle workers.
    pub async fn running(&self) -> Vec<(String, u32)> {
        let states = self.states().await.into_iter();
        let running = states.map(|state| (state.identity.unwrap_or_default().name, state.running));
        running.filter(|(_, running)| *running > 0).collect()
    }
}
