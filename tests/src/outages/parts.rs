//! The parts of a mesh, each of which can be away for a while.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use crate::process::{Running, Signal, without_authorities, workspace_binary};
use crate::{Client, Mesh, ServicePlace, Shape, client, wait};

/// The parts that can be taken away.
pub const PARTS: [&str; 6] = ["registry", "scheduler", "connector", "sink", "worker", POSTGRES];
const POSTGRES: &str = "postgresql";
/// In the order in which they are stopped: a service after those that call it.
const SERVICES: [&str; 6] = ["gateway", "connector", "worker", "scheduler", "sink", "registry"];
/// How long a part may take to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);

/// The processes of a mesh with PostgreSQL, without a supervisor that starts them again.
pub(super) struct Parts {
    services: Vec<(&'static str, Running)>,
    places: BTreeMap<String, ServicePlace>,
    /// The stopped mesh, whose configuration files, data and database these processes use.
    mesh: Mesh,
}

impl Parts {
    /// Starts all parts and waits until they are ready.
    pub(super) async fn start() -> Self {
        let mut mesh = Mesh::start(Shape { name: "outages", ..Shape::SIX_PROCESSES }).await;
        let places = mesh.services();
        mesh.ask_to_stop();
        let status = mesh.ended().await;
        assert!(status.success(), "the mesh exited with {status}");
        let services = SERVICES.map(|service| (service, start_service(&mesh.data_dir(), service)));
        let mut this = Self { services: services.into(), places, mesh };
        for service in SERVICES {
            this.becomes_ready(service).await;
        }
        this
    }

    /// A client with the token of a user.
    pub(super) fn user(&self) -> Client {
        self.mesh.user()
    }

    /// Kills a part.
    pub(super) async fn kill(&mut self, part: &str) {
        if part == POSTGRES {
            return self.postgres().die().await;
        }
        let service = self.service(part);
        service.signal(Signal::KILL);
        service.ended(START_TIMEOUT).await;
    }

    /// Starts a part again.
    pub(super) fn start_again(&mut self, part: &str) {
        if part == POSTGRES {
            return self.postgres().start_again();
        }
        let data_dir = self.mesh.data_dir();
        *self.service(part) = start_service(&data_dir, part);
    }

    /// Waits until a part that was started is ready.
    pub(super) async fn becomes_ready(&mut self, part: &str) {
        if part == POSTGRES {
            return self.postgres().listens().await;
        }
        let url = format!("{}/readyz", self.places[part].admin);
        let http = client::http();
        let ask = async || http.get(&url).send().await.is_ok_and(|page| page.status().is_success());
        wait::until(&format!("{part} is ready"), START_TIMEOUT, async || ask().await.then_some(())).await;
    }

    fn service(&mut self, name: &str) -> &mut Running {
        let found = self.services.iter_mut().find(|(service, _)| *service == name);
        &mut found.unwrap_or_else(|| panic!("there is no service {name}")).1
    }

    fn postgres(&mut self) -> &mut crate::servers::Postgres {
        self.mesh.postgres_mut().expect("the mesh uses PostgreSQL")
    }
}

/// Starts a service with the configuration that `fl up --mesh` has written.
fn start_service(data_dir: &Path, service: &str) -> Running {
    let config = data_dir.join(format!("mesh/{service}.toml"));
    let mut command = Command::new(workspace_binary(&format!("{service}-svc")));
    command.arg("--config").arg(config);
    without_authorities(&mut command);
    Running::start(service, &mut command, &data_dir.join(format!("{service}.log")))
}
