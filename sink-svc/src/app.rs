//! Where the sink's parts are wired together.

use mesh::Host;
use mesh::health::Readiness;
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use proto::sink::v1::sinks_server::SinksServer;

use crate::config::Config;
use crate::grpc::SinksHandler;

/// The sink.
#[derive(Debug)]
pub struct App;

impl App {
    /// Wires the sink.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();
        let router = Grpc::default().service(SinksServer::new(SinksHandler)).build(
            &config.server,
            &host.metrics,
            &readiness,
            &tasks,
        );
        Ok(Service { name: "sink", router, more: Vec::new(), tasks, readiness })
    }
}
