//! Connectors under test, reached through their gRPC, with their far sides as real servers.

pub mod fakes;
pub mod servers;

use std::time::Duration;

use connector_svc::{App, Config};
use mesh::egress::EgressConfig;
use mesh::endpoint::Endpoint;
use mesh::server::Service;
use mesh::testing::eventually;
use mesh::testing::postgres;
use mesh::{Caller, Channel, Host};
use proto::binding::v1::{BindingState, BindingStatus};
use proto::connector::v1::dead_letters_client::DeadLettersClient;
use proto::connector::v1::events_client::EventsClient;
use proto::connector::v1::{EventCounts, GetEventStatusRequest, ListEventLedgersRequest};
use proto::deadletter::v1::{DeadLetter, ListDeadLettersRequest};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::Request;

use self::fakes::{FakeRegistry, FakeScheduler};

/// A mesh around one or more connectors.
pub struct Stage {
    pub registry: FakeRegistry,
    pub scheduler: FakeScheduler,
    /// What event sources may connect to.
    pub egress: EgressConfig,
    folder: TempDir,
    database_url: String,
    shared: Option<String>,
}

impl Stage {
    /// With a database of this machine.
    pub fn new() -> Self {
        let folder = tempfile::tempdir().expect("a directory");
        let database_url = format!("sqlite:{}/connector.db", folder.path().display());
        Self {
            registry: FakeRegistry::new(),
            scheduler: FakeScheduler::new(),
            egress: mesh::testing::egress::loopback(),
            folder,
            database_url,
            shared: None,
        }
    }

    /// With a database that several connectors share.
    pub async fn shared() -> Self {
        let database = postgres::create_database().await;
        Self { database_url: postgres::url(&database), shared: Some(database), ..Self::new() }
    }

    /// The name of the shared database.
    pub fn database(&self) -> String {
        self.shared.clone().expect("it is shared")
    }

    /// Where a test can put files.
    pub fn folder(&self) -> &TempDir {
        &self.folder
    }

    pub async fn connector(&self) -> Connector {
        let connector = self.connector_without_scheduler("connector").await;
        connector.host.dialer.provide("scheduler", self.scheduler.router());
        connector
    }

    /// A connector that other connectors of these surroundings find at `local:NAME`, with no scheduler yet.
    pub async fn connector_without_scheduler(&self, name: &str) -> Connector {
        let host = mesh::testing::host(name);
        host.dialer.provide("registry", self.registry.router());
        self.connector_in(host).await
    }

    pub async fn connector_in(&self, host: Host) -> Connector {
        let config = Config {
            registry: Endpoint::Local("registry".into()),
            scheduler: Endpoint::Local("scheduler".into()),
            database_url: self.database_url.parse().expect("a URL"),
            egress: self.egress.clone(),
            ..Config::default()
        };
        // In a runtime of its own, with which it can die at once.
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        let runtime = runtime.expect("a runtime");
        let started = runtime.spawn(App::start(config, host.clone())).await.expect("no panic");
        let service = started.expect("it starts");
        let Endpoint::Local(name) = &host.address else { panic!("tests are local") };
        host.dialer.provide(name, service.router.clone());
        let _ = service.readiness.serving();
        let channel = host.dialer.dial(&host.address).expect("a local endpoint");
        Connector { host, service, channel, runtime: Some(runtime) }
    }
}

/// A connector of this process.
pub struct Connector {
    pub host: Host,
    pub service: Service,
    channel: Channel,
    runtime: Option<Runtime>,
}

impl Drop for Connector {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Connector {
    /// Ends it in good order.
    pub async fn stop(self) {
        self.host.draining.cancel();
        self.service.tasks.stop(Duration::from_secs(20)).await;
    }

    /// Ends it in the middle of whatever it does.
    pub fn kill(self) {
        drop(self);
    }

    pub fn events(&self) -> EventsClient<Channel> {
        EventsClient::new(self.channel.clone())
    }

    pub fn dead_letters(&self) -> DeadLettersClient<Channel> {
        DeadLettersClient::new(self.channel.clone())
    }

    pub async fn status(&self, id: &str) -> BindingStatus {
        let request = GetEventStatusRequest { ids: vec![id.into()], wait: false };
        let statuses = self.events().get_event_status(request).await.expect("told").into_inner().statuses;
        statuses.into_iter().next().and_then(|status| status.status).expect("one for each")
    }

    pub async fn is_connected(&self, id: &str) -> bool {
        self.status(id).await.state() == BindingState::Connected
    }

    pub async fn connected(&self, id: &str) {
        eventually("it is connected", async || self.is_connected(id).await).await;
    }

    /// Waits until the source is away, and says what hinders it.
    pub async fn retrying(&self, id: &str) -> String {
        let is_retrying = async || self.status(id).await.state() == BindingState::Retrying;
        eventually("it tries again", is_retrying).await;
        self.status(id).await.message
    }

    pub async fn counts(&self, id: &str) -> EventCounts {
        let ledgers =
            self.events().list_event_ledgers(ListEventLedgersRequest::default()).await.expect("told");
        let mut ledgers = ledgers.into_inner().ledgers.into_iter();
        ledgers.find(|ledger| ledger.binding_id == id).and_then(|ledger| ledger.counts).unwrap_or_default()
    }

    /// Waits until so many events are done with and none is in flight, and checks the sums.
    pub async fn settled(&self, id: &str, acknowledged: u64) -> EventCounts {
        eventually(&format!("{acknowledged} events of {id} are done with"), async || {
            let counts = self.counts(id).await;
            counts.acknowledged == acknowledged && counts.in_flight == 0
        })
        .await;
        let counts = self.counts(id).await;
        assert_eq!(counts.received, counts.acknowledged + counts.in_flight + counts.lost, "{counts:?}");
        assert_eq!(counts.dead_lettered, counts.dead_letters + counts.redriven + counts.purged, "{counts:?}");
        counts
    }

    pub async fn letters(&self) -> Vec<DeadLetter> {
        let listed = self.dead_letters().list_dead_letters(ListDeadLettersRequest::default()).await;
        listed.expect("listed").into_inner().letters
    }
}

/// A message on behalf of a subject.
pub fn as_subject<T>(name: &str, message: T) -> Request<T> {
    Caller::Subject(name.into()).attach(Request::new(message))
}
