//! Sinks under test, each in this process on a runtime of its own, and reached through its gRPC.

pub mod receiver;
pub mod registry;
pub mod servers;

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use mesh::channel::{Channel, Dialer};
use mesh::config::ServerConfig;
use mesh::deadline::Deadline;
use mesh::endpoint::Endpoint;
use mesh::server::Service;
use mesh::{Error, Host};
use proto::binding::v1::{BindingState, BindingStatus};
use proto::deadletter::v1::{DeadLetter, ListDeadLettersRequest};
use proto::sink::v1::dead_letters_client::DeadLettersClient;
use proto::sink::v1::delivery_client::DeliveryClient;
use proto::sink::v1::sinks_client::SinksClient;
use proto::sink::v1::{DeliverRequest, GetSinkStatusRequest, ListSinkLedgersRequest, SinkCounts};
use sink_svc::{App, Config};
use tokio::runtime::Runtime;
use tonic::{Request, Status};

use self::registry::FakeRegistry;

pub use mesh::database_contract as contract;
pub use mesh::testing::database::Database;

/// The configuration of a sink on this database.
pub fn config(database: &Database) -> Config {
    Config {
        database_url: database.url(),
        registry: "local:registry".parse().expect("an endpoint"),
        removed_after_s: 2,
        egress: mesh::testing::egress::loopback(),
        ..Config::default()
    }
}

/// Asserts that the ledgers agree with the tables.
pub async fn assert_conserved(database: &Database) {
    let pending = "SELECT count(*) FROM sink_outbox WHERE state = 0";
    let dead = "SELECT count(*) FROM sink_dead_letter";
    let bytes = "SELECT CAST(coalesce(sum(size), 0) AS bigint) FROM sink_outbox WHERE state = 0";
    for (ledger, rows) in
        [("accepted - delivered - dead - purged", pending), ("dead", dead), ("pending_bytes", bytes)]
    {
        let ledger = format!("SELECT CAST(coalesce(sum({ledger}), 0) AS bigint) FROM sink_ledger");
        assert_eq!(database.number(&ledger).await, database.number(rows).await, "{ledger}");
    }
}

/// A registry, and a way for sinks to reach it and each other.
#[derive(Default)]
pub struct World {
    pub registry: FakeRegistry,
    dialer: Dialer,
}

/// A sink in this process.
pub struct Sink {
    pub service: Service,
    host: Host,
    channel: Channel,
    runtime: Option<Runtime>,
}

impl World {
    pub fn new() -> Self {
        mesh::tls::install_crypto();
        mesh::telemetry::hand_on_contexts();
        let world = Self::default();
        world.dialer.provide("registry", world.registry.router());
        world
    }

    pub async fn start(&self, database: &Database) -> Sink {
        self.start_as(config(database)).await
    }

    pub async fn start_as(&self, config: Config) -> Sink {
        static SINKS: AtomicU32 = AtomicU32::new(0);
        let name = format!("sink-{}", SINKS.fetch_add(1, Ordering::Relaxed));
        let address = Endpoint::Local(name.clone());
        let host = Host {
            dialer: self.dialer.clone(),
            ..Host::new(&ServerConfig::default(), address.clone()).expect("the defaults are valid")
        };
        let mut runtime = tokio::runtime::Builder::new_multi_thread();
        let runtime = runtime.worker_threads(1).enable_all().build().expect("a runtime");
        let service = runtime.spawn(App::start(config, host.clone())).await.expect("no panic");
        let service = service.expect("the sink starts");
        self.dialer.provide(&name, service.router.clone());
        let _ = service.readiness.serving();
        let channel = self.dialer.dial(&address).expect("a local endpoint");
        Sink { service, host, channel, runtime: Some(runtime) }
    }
}

impl Sink {
    /// Drains it and waits for its end.
    pub async fn stop(self) {
        self.host.draining.cancel();
        self.service.tasks.stop(Duration::from_secs(10)).await;
    }

    /// All that it does ends at once, in the middle of whatever it is.
    pub fn kill(self) {}

    pub fn address(&self) -> String {
        self.host.address.to_string()
    }

    pub fn is_ready(&self) -> bool {
        *self.service.readiness.watch().borrow()
    }

    pub fn sinks(&self) -> SinksClient<Channel> {
        SinksClient::new(self.channel.clone())
    }

    pub fn delivery(&self) -> DeliveryClient<Channel> {
        DeliveryClient::new(self.channel.clone())
    }

    pub fn dead_letters(&self) -> DeadLettersClient<Channel> {
        DeadLettersClient::new(self.channel.clone())
    }

    /// Hands over a result for one sink.
    pub async fn deliver(&self, sink: &str, invocation_id: &str, result: &str) -> Result<(), Status> {
        self.delivery().deliver(delivery(&[sink], invocation_id, result)).await.map(drop)
    }

    /// Hands over a result for one sink, which has to be taken.
    pub async fn take(&self, sink: &str, invocation_id: &str, result: &str) {
        self.deliver(sink, invocation_id, result).await.expect("taken");
    }

    /// What became of a sink's results.
    pub async fn counts(&self, sink: &str) -> SinkCounts {
        let ledgers =
            self.sinks().list_sink_ledgers(ListSinkLedgersRequest::default()).await.expect("ledgers");
        let mut ledgers = ledgers.into_inner().ledgers.into_iter();
        ledgers.find(|ledger| ledger.binding_id == sink).and_then(|ledger| ledger.counts).unwrap_or_default()
    }

    /// Waits until a sink's counts are these, which have to be all.
    pub async fn eventually_counts(&self, sink: &str, expected: SinkCounts) {
        let what = format!("{sink} has {expected:?}");
        mesh::testing::eventually(&what, async || self.counts(sink).await == expected).await;
    }

    pub async fn status(&self, id: &str) -> BindingStatus {
        let request = GetSinkStatusRequest { ids: vec![id.into()], wait: false };
        let statuses = self.sinks().get_sink_status(request).await.expect("statuses").into_inner().statuses;
        statuses[0].status.clone().expect("a status")
    }

    /// Waits until a sink is so, and gives its message.
    pub async fn eventually_is(&self, id: &str, state: BindingState) -> String {
        let what = format!("{id} is {state:?}");
        mesh::testing::eventually(&what, async || self.status(id).await.state() == state).await;
        self.status(id).await.message
    }

    pub async fn letters(&self) -> Vec<DeadLetter> {
        let letters = self.dead_letters().list_dead_letters(ListDeadLettersRequest::default()).await;
        letters.expect("letters").into_inner().letters
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// A result for some sinks.
pub fn delivery(sinks: &[&str], invocation_id: &str, result: &str) -> DeliverRequest {
    DeliverRequest {
        invocation_id: invocation_id.into(),
        function_id: "f".into(),
        result: result.to_owned().into(),
        module: "shop".into(),
        function: "order".into(),
        owner: "ann".into(),
        sinks: sinks.iter().map(|sink| (*sink).to_owned()).collect(),
    }
}

/// Counts of results that all are delivered.
pub fn delivered(count: u64) -> SinkCounts {
    SinkCounts { accepted: count, delivered: count, ..SinkCounts::default() }
}

/// The error of a call that has to fail.
pub fn failure<T: std::fmt::Debug>(result: Result<T, Status>) -> Error {
    result.expect_err("it must be refused").into()
}

/// A request on behalf of a user.
pub fn as_user<T>(name: &str, message: T) -> Request<T> {
    mesh::Caller::Subject(name.into()).attach(Request::new(message))
}

/// A call within a trace.
pub fn traced<T>(traceparent: &str, message: T) -> Request<T> {
    let mut request = Deadline::after(Duration::from_secs(10)).attach(message);
    request.metadata_mut().insert("traceparent", traceparent.parse().expect("text"));
    request
}
