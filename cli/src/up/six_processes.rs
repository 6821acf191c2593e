//! The six services as six supervised processes that talk gRPC over loopback.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mesh::auth::Secret;
use mesh::config::AdminListen;
use rand::RngExt as _;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::settings::{Places, Settings};
use super::supervise::{Program, Supervised};
use super::{READY_TIMEOUT, live};
use crate::args::Up;
use crate::profile::{Profile, write_private};

/// Says where each service is, as long as they run.
const MAP_FILE: &str = "mesh.json";
const READY_POLL: Duration = Duration::from_millis(50);

/// One service: where it is, and how it is configured.
struct Plan {
    /// `registry`, or `worker-2`.
    name: String,
    /// The executable, beside `fl`.
    binary: &'static str,
    listen: SocketAddr,
    admin: SocketAddr,
    config: Value,
    /// What comes after it, each as `KEY=VALUE`.
    set: Vec<String>,
}

/// Runs the mesh until it is asked to stop.
pub async fn run(options: &Up, profile: &Profile) -> anyhow::Result<()> {
    let plans = plan(options, profile)?;
    let mut services = Vec::new();
    let mut pids = BTreeMap::new();
    for plan in &plans {
        let program = Program {
            name: plan.name.clone(),
            path: beside_this_program(plan.binary)?,
            config: write_config(options, plan)?,
            set: plan.set.clone(),
        };
        let pid = watch::Sender::new(None);
        pids.insert(plan.name.clone(), pid.subscribe());
        services.push(Supervised::start(program, pid)?);
    }
    let map = keep_map(options.data_dir.join(MAP_FILE), &plans, pids);
    let outcome = live(options, profile, ready(&plans)).await;

    // What was started last stops first: a service stops after those that call it.
    while let Some(service) = services.pop() {
        service.stop().await;
    }
    map.abort();
    let _ = std::fs::remove_file(options.data_dir.join(MAP_FILE));
    outcome
}

/// Ends when all services are ready.
async fn ready(plans: &[Plan]) -> anyhow::Result<()> {
    let client = crate::client::http("http://localhost")?;
    let all = async {
        for plan in plans {
            let url = format!("http://{}/readyz", plan.admin);
            while !client.get(&url).send().await.is_ok_and(|page| page.status().is_success()) {
                tokio::time::sleep(READY_POLL).await;
            }
        }
    };
    let ready = tokio::time::timeout(READY_TIMEOUT, all).await;
    ready.context("the mesh is not ready; see the services' lines above")
}

/// In the order in which they start.
fn plan(options: &Up, profile: &Profile) -> anyhow::Result<Vec<Plan>> {
    let mut ports = FreePorts::default();
    let mut admin_ports = AdminPorts::new(&options.admin)?;
    let mut service = |name: &str, binary, listen: Option<SocketAddr>| -> anyhow::Result<Plan> {
        let listen = listen.map_or_else(|| ports.take(), Ok)?;
        let (name, admin) = (name.to_owned(), admin_ports.next(name)?);
        Ok(Plan { name, binary, listen, admin, config: json!({}), set: Vec::new() })
    };
    must_be_free(options.http, "--http")?;
    must_be_free(options.grpc, "--grpc")?;
    let mut gateway = service("gateway", "gateway-svc", Some(options.http))?;
    let mut registry = service("registry", "registry-svc", None)?;
    let mut scheduler = service("scheduler", "scheduler-svc", None)?;
    let mut workers = vec![service("worker", "worker-svc", None)?];
    let mut connector = service("connector", "connector-svc", None)?;
    let mut sink = service("sink", "sink-svc", None)?;
    for number in 2..=options.workers {
        workers.push(service(&format!("worker-{number}"), "worker-svc", None)?);
    }

    let places = Places {
        registry: registry.url(),
        scheduler: scheduler.url(),
        connector: connector.url(),
        sink: sink.url(),
    };
    let settings = Settings::new(options, profile, places)?;
    registry.is_told(settings.registry(), settings.set("registry"));
    sink.is_told(settings.sink(), settings.set("sink"));
    scheduler.is_told(settings.scheduler(), settings.set("scheduler"));
    for worker in &mut workers {
        worker.is_told(settings.worker(&worker.name), settings.set("worker"));
    }
    connector.is_told(settings.connector(), settings.set("connector"));
    gateway.is_told(settings.gateway(), settings.set("gateway"));
    gateway.config["grpc_listen"] = json!(options.grpc.to_string());
    let mut plans = vec![registry, sink, scheduler];
    plans.extend(workers);
    plans.extend([connector, gateway]);
    let secret = Secret::random();
    plans.iter_mut().for_each(|plan| plan.configure_as_all(options, &secret));
    if let (Some(tls), Some(gateway)) = (options.tls(), plans.last_mut()) {
        // What is wrong with the files is said now, not by a service that fails again and again.
        tls.acceptor()?;
        gateway.config["server"]["tls"] = json!({ "cert": tls.cert, "key": tls.key });
    }
    Ok(plans)
}

impl Plan {
    fn is_told(&mut self, config: Value, set: Vec<String>) {
        (self.config, self.set) = (config, set);
    }

    /// What every service has. `secret` is what they show each other.
    fn configure_as_all(&mut self, options: &Up, secret: &Secret) {
        self.config["server"] = json!({
            "listen": self.listen.to_string(),
            "admin_listen": self.admin.to_string(),
            "secret": secret.expose(),
            "stop_with_parent": true,
        });
        self.config["telemetry"] = json!({ "log": options.log, "format": "human" });
        if let Some(endpoint) = &options.otlp_endpoint {
            self.config["telemetry"]["otlp_endpoint"] = json!(endpoint);
            self.config["telemetry"]["sample_ratio"] = json!(options.sample_ratio);
        }
    }

    fn url(&self) -> String {
        format!("http://{}", self.listen)
    }
}

/// The admin ports of the services: the first is the gateway's, and the others follow.
struct AdminPorts {
    next: SocketAddr,
}

impl AdminPorts {
    fn new(first: &AdminListen) -> anyhow::Result<Self> {
        match first {
            AdminListen::At(first) => Ok(Self { next: *first }),
            AdminListen::Off | AdminListen::Beside => {
                anyhow::bail!(
                    "--admin off: `fl up --mesh` asks the services at their admin ports whether they are ready"
                )
            }
        }
    }

    fn next(&mut self, service: &str) -> anyhow::Result<SocketAddr> {
        let address = self.next;
        let flag = format!("the admin port of {service}; choose the first of all admin ports with --admin");
        must_be_free(address, &flag)?;
        let next = address.port().checked_add(1).context("--admin: no ports follow")?;
        self.next.set_port(next);
        Ok(address)
    }
}

/// Refused here: a supervised service would fail again and again.
fn must_be_free(address: SocketAddr, what: &str) -> anyhow::Result<()> {
    TcpListener::bind(address).map(drop).with_context(|| format!("cannot listen on {address}, {what}"))
}

/// Ports of the loopback interface that are free now, each given out once. They are below the range that
/// outgoing connections use, so that none of these takes the port of a service that starts again.
#[derive(Default)]
struct FreePorts {
    taken: BTreeSet<u16>,
}

impl FreePorts {
    const RANGE: RangeInclusive<u16> = 10_000..=19_999;
    const ATTEMPTS: usize = 1000;

    fn take(&mut self) -> anyhow::Result<SocketAddr> {
        for _ in 0..Self::ATTEMPTS {
            let port = rand::rng().random_range(Self::RANGE);
            let address = SocketAddr::from(([127, 0, 0, 1], port));
            if !self.taken.contains(&port) && TcpListener::bind(address).is_ok() {
                self.taken.insert(port);
                return Ok(address);
            }
        }
        anyhow::bail!("no free port on loopback from {} to {}", Self::RANGE.start(), Self::RANGE.end())
    }
}

fn beside_this_program(binary: &str) -> anyhow::Result<PathBuf> {
    let this = std::env::current_exe().context("where is this program?")?;
    Ok(this.with_file_name(binary))
}

/// Owner-only, since it holds secrets.
fn write_config(options: &Up, plan: &Plan) -> anyhow::Result<PathBuf> {
    let dir = options.data_dir.join("mesh");
    std::fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let path = dir.join(format!("{}.toml", plan.name));
    let without_nulls: Value = match &plan.config {
        Value::Object(keys) => {
            keys.iter().filter(|(_, v)| !v.is_null()).map(|(k, v)| (k.clone(), v.clone())).collect()
        }
        other => other.clone(),
    };
    write_private(&path, &toml::to_string(&without_nulls)?)?;
    Ok(path)
}

/// Keeps a file that says where each service is, for scripts and curious people.
fn keep_map(
    path: PathBuf,
    plans: &[Plan],
    mut pids: BTreeMap<String, watch::Receiver<Option<u32>>>,
) -> JoinHandle<()> {
    let places: BTreeMap<_, _> = plans
        .iter()
        .map(|plan| (plan.name.clone(), (plan.url(), format!("http://{}", plan.admin))))
        .collect();
    tokio::spawn(async move {
        loop {
            let map: BTreeMap<_, _> = places
                .iter()
                .map(|(name, (address, admin))| {
                    let pid = pids.get_mut(name).and_then(|pid| *pid.borrow_and_update());
                    (name, json!({ "pid": pid, "address": address, "admin": admin }))
                })
                .collect();
            if let Err(error) = write_map(&path, &json!(map)) {
                tracing::warn!(%error, "mesh.json is not up to date");
            }
            let changes = pids.values_mut().map(|pid| Box::pin(pid.changed()));
            if futures::future::select_all(changes).await.0.is_err() {
                return;
            }
        }
    })
}

fn write_map(path: &Path, map: &Value) -> anyhow::Result<()> {
    write_private(path, &serde_json::to_string_pretty(map)?)
}
