//! A worker under test and its environment.

pub mod guests;
pub mod registry;
pub mod scheduler;

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use mesh::endpoint::Endpoint;
use mesh::hash::Hash;
use mesh::server::Service;
use mesh::testing::{self, Served};
use mesh::{Channel, Error, Host, Reason};
use proto::registry::v1::{Code, CodeKind, Limits};
use proto::worker::v1::execute_response::Outcome;
use proto::worker::v1::execution_client::ExecutionClient;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tempfile::TempDir;
use worker_svc::{App, Config};

use registry::Registry;

/// A worker and the registry that it follows.
pub struct Worker {
    pub registry: Registry,
    pub host: Host,
    pub service: Service,
    pub cache: TempDir,
    channel: Channel,
}

/// An address where nothing listens.
pub fn nowhere() -> Endpoint {
    "http://127.0.0.1:9".parse().expect("an endpoint")
}

impl Worker {
    /// A worker with small limits.
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// A worker with a changed configuration.
    pub async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::start_in(Registry::start().await, cache_dir(), change).await
    }

    /// A worker of this registry with this code cache.
    pub async fn start_in(registry: Registry, cache: TempDir, change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config {
            name: "worker-1".into(),
            registry: registry.endpoint(),
            schedulers: vec![nowhere()],
            cache_dir: cache.path().into(),
            max_concurrent: 16,
            memory_bytes: 16 << 20,
            output_bytes: 1 << 20,
            timeout_ms: 20_000,
            // The test is not a worker.
            compiler: Some(env!("CARGO_BIN_EXE_worker-svc").into()),
            egress: testing::egress::loopback(),
            ..Config::default()
        };
        change(&mut config);
        let host = Host { resolver: testing::egress::resolver(&[]), ..testing::host("worker") };
        let service = App::start(config, host.clone()).await.expect("the worker starts");
        let channel = testing::serve_local(&host, &service);
        Self { registry, host, service, cache, channel }
    }

    /// Stops it, and returns its registry and its code cache.
    pub async fn stop(self) -> (Registry, TempDir) {
        self.service.tasks.stop(Duration::from_secs(5)).await;
        (self.registry, self.cache)
    }

    /// Serves it on a real socket.
    pub async fn serve(&self) -> Served {
        Served::start(self.service.router.clone()).await
    }

    /// A channel to it.
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    pub fn client(&self) -> ExecutionClient<Channel> {
        ExecutionClient::new(self.channel.clone())
    }

    /// Uploads a function and runs it once.
    pub async fn run(&self, wat: &str, args: &str) -> Result<Outcome, Error> {
        self.execute(self.request(wat, args)).await
    }

    /// Uploads a function and returns a request that runs it.
    pub fn request(&self, wat: &str, args: &str) -> ExecuteRequest {
        let hash = self.registry.add_code(guests::compile(wat));
        request(hash, args)
    }

    pub async fn execute(&self, request: ExecuteRequest) -> Result<Outcome, Error> {
        outcome(self.client().execute(request).await)
    }

    /// The sum of a metric's samples with this value of a label, or of all samples. Of histograms, the counts
    /// are summed.
    pub fn metric(&self, name: &str, label: Option<&str>) -> f64 {
        let families = self.host.metrics.gather();
        let family = families.iter().find(|family| family.name() == name);
        let samples = family.map_or(&[][..], |family| family.get_metric());
        let matching = samples.iter().filter(|sample| {
            label.is_none_or(|label| sample.get_label().iter().any(|pair| pair.value() == label))
        });
        let value = |sample: &prometheus::proto::Metric| {
            sample.get_counter().get_value()
                + sample.get_gauge().get_value()
                + sample.get_histogram().get_sample_count() as f64
        };
        matching.map(value).sum()
    }

    pub fn running(&self) -> f64 {
        self.metric("funless_worker_invocations_running", None)
    }

    pub fn compiled(&self) -> f64 {
        self.metric("funless_worker_code_phase_seconds", Some("compile"))
    }

    pub fn found(&self, level: &str) -> f64 {
        self.metric("funless_worker_code_found_total", Some(level))
    }
}

pub fn cache_dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// The compiled artifacts in a cache.
pub fn artifacts(cache: &Path) -> Vec<std::path::PathBuf> {
    let engines = std::fs::read_dir(cache).expect("the cache");
    let files =
        engines.flat_map(|engine| std::fs::read_dir(engine.expect("an entry").path()).expect("a directory"));
    let paths = files.map(|file| file.expect("an entry").path());
    paths.filter(|path| path.extension().is_some_and(|extension| extension == "cwasm")).collect()
}

pub fn request(hash: Hash, args: &str) -> ExecuteRequest {
    ExecuteRequest {
        invocation_id: "invocation-1".into(),
        module: "_".into(),
        function: "f".into(),
        code: Some(Code { hash: hash.to_bytes(), size: 0, kind: CodeKind::Funless.into() }),
        limits: None,
        args: Bytes::copy_from_slice(args.as_bytes()),
        ..ExecuteRequest::default()
    }
}

pub fn with_limits(mut request: ExecuteRequest, limits: Limits) -> ExecuteRequest {
    request.limits = Some(limits);
    request
}

pub fn outcome(answer: Result<tonic::Response<ExecuteResponse>, tonic::Status>) -> Result<Outcome, Error> {
    Ok(answer?.into_inner().outcome.expect("an outcome"))
}

pub fn result(text: &str) -> Result<Outcome, Error> {
    Ok(Outcome::Result(Bytes::copy_from_slice(text.as_bytes())))
}

pub fn function_error(text: &str) -> Result<Outcome, Error> {
    Ok(Outcome::FunctionError(text.into()))
}

/// Checks that a run failed for this reason, with a message that contains `words`.
#[track_caller]
pub fn assert_failed(end: Result<Outcome, Error>, reason: Reason, words: &str) {
    let error = end.expect_err(words);
    assert_eq!(error.reason, reason, "{error}");
    assert!(error.message.contains(words), "{:?} contains {words:?}", error.message);
}
