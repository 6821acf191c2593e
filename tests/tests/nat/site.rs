//! A mesh of six processes whose worker cannot be dialled.

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::{ListWorkersRequest, WorkerState};
use tempfile::TempDir;
use tests::grpc::{Connection, connect_to};
use tests::process::{Running, free_port, workspace_binary};
use tests::{Client, client, wait};

use crate::network::Network;

/// How long a service may take to become ready.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const SECRET: &str = "what-services-show-each-other";
const USER: &str = "token-of-the-user";
const ADMIN: &str = "token-of-the-administrator";

/// The worker's gRPC and admin ports in its namespace.
pub const WORKER_PORTS: [u16; 2] = [4003, 4103];

/// A mesh, which runs until it is dropped.
pub struct Site {
    pub worker: Running,
    pub scheduler: Running,
    _others: Vec<Running>,
    pub network: Network,
    rest: String,
    grpc: String,
    _folder: TempDir,
}

impl Site {
    /// Starts a mesh and waits until its worker has joined.
    pub async fn start() -> Self {
        let network = Network::create();
        let folder = tempfile::Builder::new().prefix("funless-").tempdir().expect("a temporary folder");
        let storage = Storage(folder.path().to_owned());
        // On the link, because the worker can reach nothing else.
        let [registry, scheduler, connector, sink] =
            [(); 4].map(|()| format!("{}:{}", network.here, free_port()));
        let [rest, grpc] = [(); 2].map(|()| format!("127.0.0.1:{}", free_port()));
        let to = |key: &str, address: &str| format!("{key}=http://{address}");
        let [to_registry, to_scheduler] = [to("registry", &registry), to("scheduler", &scheduler)];
        let [to_connector, to_sink] = [to("connector", &connector), to("sink", &sink)];

        let tokens = [format!("guest_token={USER}"), format!("admin_token={ADMIN}")];
        let mut others = vec![
            storage
                .start("registry", &registry, &[&storage.database("registry"), &tokens[0], &tokens[1]])
                .await,
            storage.start("sink", &sink, &[&to_registry, &storage.database("sink")]).await,
        ];
        let scheduling = storage.start("scheduler", &scheduler, &[&to_registry, &to_sink]).await;
        let database = storage.database("connector");
        others.push(storage.start("connector", &connector, &[&to_registry, &to_scheduler, &database]).await);
        let grpc_listen = format!("grpc_listen={grpc}");
        let services = [&*to_registry, &to_scheduler, &to_connector, &to_sink, &grpc_listen];
        others.push(storage.start("gateway", &rest, &services).await);

        let mut command = network.command(workspace_binary("worker-svc"));
        let schedulers = format!("schedulers=[\"http://{scheduler}\"]");
        let cache = format!("cache_dir={}", folder.path().join("code-cache").display());
        let listen = format!("127.0.0.1:{}", WORKER_PORTS[0]);
        let egress = format!("egress.allow=[\"{}\"]", network.here);
        let settings = ["name=hidden", "advertise=none", &to_registry, &schedulers, &cache, &egress];
        let worker = storage.run("worker", &mut command, &listen, &settings);
        let site =
            Self { worker, scheduler: scheduling, _others: others, network, rest, grpc, _folder: folder };
        site.worker_is_in(true).await;
        site
    }

    /// A REST client with a user's token.
    pub fn user(&self) -> Client {
        Client::new(&format!("http://{}", self.rest), Some(USER))
    }

    /// A connection to the gRPC port, with the administrator's token.
    pub async fn grpc(&self) -> Connection {
        connect_to(format!("http://{}", self.grpc), Some(ADMIN)).await
    }

    /// The workers, as the scheduler sees them.
    pub async fn workers(&self) -> Vec<WorkerState> {
        let list = ClusterClient::new(self.grpc().await).list_workers(ListWorkersRequest {}).await;
        list.expect("a list").into_inner().workers
    }

    /// Waits until the worker has joined the scheduler or has been removed.
    pub async fn worker_is_in(&self, is_in: bool) {
        let what = format!("the worker {}", if is_in { "has joined" } else { "has been removed" });
        wait::until(&what, START_TIMEOUT, async || {
            (self.workers().await.len() == usize::from(is_in)).then_some(())
        })
        .await;
    }

    /// Waits until the worker reports this many running invocations.
    pub async fn running(&self, count: u32) {
        let what = format!("{count} invocations run");
        wait::until(&what, START_TIMEOUT, async || {
            let workers = self.workers().await.into_iter();
            let running: u32 = workers.map(|worker| worker.load.unwrap_or_default().running).sum();
            (running == count).then_some(())
        })
        .await;
    }
}

/// The folder for the services' databases and logs.
struct Storage(PathBuf);

impl Storage {
    fn database(&self, service: &str) -> String {
        format!("database_url=sqlite:{}", self.0.join(format!("{service}.db")).display())
    }

    /// Starts a service and waits until it is ready.
    async fn start(&self, service: &str, listen: &str, settings: &[&str]) -> Running {
        let mut command = Command::new(workspace_binary(&format!("{service}-svc")));
        let pages = format!("127.0.0.1:{}", free_port());
        let admin = format!("server.admin_listen={pages}");
        let settings = [settings, &[&admin]].concat();
        let mut running = self.run(service, &mut command, listen, &settings);
        let (http, url) = (client::http(), format!("http://{pages}/readyz"));
        running
            .ready(START_TIMEOUT, async || {
                http.get(&url).send().await.is_ok_and(|page| page.status().is_success())
            })
            .await;
        running
    }

    fn run(&self, service: &str, command: &mut Command, listen: &str, settings: &[&str]) -> Running {
        let listen = format!("server.listen={listen}");
        let secret = format!("server.secret={SECRET}");
        for setting in [&*listen, &secret, "telemetry.format=human"].iter().chain(settings) {
            command.args(["--set", setting]);
        }
        Running::start(service, command, &self.0.join(format!("{service}.log")))
    }
}
