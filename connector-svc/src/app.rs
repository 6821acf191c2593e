//! Where the connector's parts are wired together.

use mesh::Host;
use mesh::health::Readiness;
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use proto::connector::v1::events_server::EventsServer;

use crate::config::Config;
use crate::grpc::EventsHandler;

/// The connector.
#[derive(Debug)]
pub struct App;

impl App {
    /// Wires the connector.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();
        let router = Grpc::default().service(EventsServer::new(EventsHandler)).build(
            &config.server,
            &host.metrics,
            &readiness,
            &tasks,
        );
        Ok(Service { name: "connector", router, more: Vec::new(), tasks, readiness })
    }
}
