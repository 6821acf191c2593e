//! A gateway on free ports, in front of fake services that keep everything in memory.

pub mod bindings;
pub mod dead_letters;
pub mod http;
pub mod logs;
pub mod policies;
pub mod registry;
pub mod scheduler;

use gateway_svc::{App, Config};
use mesh::Error;
use mesh::config::ServerConfig;
use mesh::endpoint::Endpoint;
use mesh::health::{Condition, Readiness};
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::testing::Served;
use tokio_util::sync::CancellationToken;

use bindings::{FakeConnector, FakeSink};
use registry::FakeRegistry;
use scheduler::FakeScheduler;

/// The token of the subject `ann`.
pub const ANN: &str = "token-of-ann";
/// The token of the administrator `root`.
pub const ROOT: &str = "token-of-root";

/// A gateway and the services behind it.
pub struct Mesh {
    pub registry: FakeRegistry,
    pub scheduler: FakeScheduler,
    pub connector: FakeConnector,
    pub sink: FakeSink,
    pub service: Service,
    pub metrics: prometheus::Registry,
    pub draining: CancellationToken,
    pub rest: Served,
    pub edge: Served,
    pub registry_server: Served,
    registry_serving: Condition,
    _others: Vec<Served>,
}

impl Mesh {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    /// Starts a gateway whose configuration `adjust` may change. Its endpoints are those of the fake
    /// services, over TCP; `local:NAME` reaches them, too.
    pub async fn start_with(adjust: impl FnOnce(&mut Config)) -> Self {
        let registry = FakeRegistry::default();
        let scheduler = FakeScheduler::default();
        let connector = FakeConnector::default();
        let sink = FakeSink::default();

        let host = mesh::testing::host("gateway");
        let serve = async |name, grpc| {
            let (router, serving) = stack(grpc);
            host.dialer.provide(name, router.clone());
            (Served::start(router).await, serving)
        };
        let (registry_server, registry_serving) = serve("registry", registry.services()).await;
        let (scheduler_server, _) = serve("scheduler", scheduler.services()).await;
        let (connector_server, _) = serve("connector", connector.services()).await;
        let (sink_server, _) = serve("sink", sink.services()).await;

        let mut config = Config {
            registry: registry_server.endpoint.clone(),
            scheduler: scheduler_server.endpoint.clone(),
            connector: connector_server.endpoint.clone(),
            sink: sink_server.endpoint.clone(),
            ..Config::default()
        };
        adjust(&mut config);
        let (draining, metrics) = (host.draining.clone(), host.metrics.clone());
        let service = App::start(config, host).await.expect("the gateway starts");
        let (_, edge) = service.more.first().cloned().expect("the port for gRPC clients");
        Self {
            rest: Served::start(service.router.clone()).await,
            edge: Served::start(edge).await,
            registry,
            scheduler,
            connector,
            sink,
            service,
            metrics,
            draining,
            registry_server,
            registry_serving,
            _others: vec![scheduler_server, connector_server, sink_server],
        }
    }

    /// Sets whether the registry fails all calls and says that it does not serve.
    pub fn set_registry_away(&self, is_away: bool) {
        self.registry.state.lock().is_away = is_away;
        self.registry_serving.set(!is_away);
    }

    /// The value of the gateway's metric with these labels, as on its page: `name{label="value"}`.
    pub fn metric(&self, sample: &str) -> f64 {
        let page = prometheus::TextEncoder::new().encode_to_string(&self.metrics.gather()).expect("a text");
        let value = page.lines().find_map(|line| line.strip_prefix(sample)?.strip_prefix(' '));
        let value = value.unwrap_or_else(|| panic!("{sample} is not in {page}"));
        value.parse().expect("a number")
    }

    /// Starts a gateway that reaches the services without sockets, as in one process.
    pub async fn start_in_one_process() -> Self {
        Self::start_in_one_process_with(|_| {}).await
    }

    /// The same, with a configuration that `adjust` may change.
    pub async fn start_in_one_process_with(adjust: impl FnOnce(&mut Config)) -> Self {
        Self::start_with(|config| {
            adjust(config);
            config.registry = Endpoint::Local("registry".into());
            config.scheduler = Endpoint::Local("scheduler".into());
            config.connector = Endpoint::Local("connector".into());
            config.sink = Endpoint::Local("sink".into());
        })
        .await
    }
}

/// The server stack around `grpc`, and the condition that it serves.
fn stack(grpc: Grpc) -> (axum::Router, Condition) {
    let readiness = Readiness::default();
    let serving = readiness.serving();
    let router =
        grpc.build(&ServerConfig::default(), &prometheus::Registry::new(), &readiness, &Tasks::default());
    (router, serving)
}

/// An endpoint at which nothing listens.
pub fn nowhere() -> Endpoint {
    "http://127.0.0.1:1".parse().expect("an endpoint")
}

/// The error that the next call returns, if it is set.
pub type Failure = std::sync::Arc<parking_lot::Mutex<Option<Error>>>;

/// Returns the failure once, if one is set.
pub fn fail_if_set(failure: &Failure) -> Result<(), tonic::Status> {
    failure.lock().take().map_or(Ok(()), |error| Err(error.into()))
}
