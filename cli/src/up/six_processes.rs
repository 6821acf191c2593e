//! The six services as six supervised processes that talk gRPC over loopback.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use mesh::auth::Secret;
use mesh::config::of_settings;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::ports::{AdminPorts, FreePorts, must_be_free};
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
    /// `registry`, or `worker`.
    service: &'static str,
    listen: SocketAddr,
    admin: SocketAddr,
    config: Value,
    /// What comes after it, each as `KEY=VALUE`.
    set: Vec<String>,
}

/// Runs the mesh until it is asked to stop.
pub async fn run(options: &Up, profile: &Profile) -> anyhow::Result<()> {
    let plans = plan(options, profile)?;
    ports_must_be_free(options, &plans).await?;
    let mut services = Vec::new();
    let mut pids = BTreeMap::new();
    for plan in &plans {
        let program = Program {
            name: plan.name.clone(),
            path: beside_this_program(&format!("{}-svc", plan.service))?,
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
    ready.context("the mesh is not ready; see the services' log lines")
}

/// How long the services of a mesh whose supervisor was killed, and which left its map behind, may take to drain.
const LEFT_BEHIND: Duration = Duration::from_secs(30);

async fn ports_must_be_free(options: &Up, plans: &[Plan]) -> anyhow::Result<()> {
    let was_killed = options.data_dir.join(MAP_FILE).exists();
    let patience = if was_killed { LEFT_BEHIND } else { Duration::ZERO };
    must_be_free(options.http, "gateway (REST)", "--http", patience).await?;
    must_be_free(options.grpc, "gateway (gRPC)", "--grpc", patience).await?;
    for plan in plans {
        let whose = format!("{} (admin port)", plan.name);
        must_be_free(plan.admin, &whose, "--admin, the first of these ports", patience).await?;
    }
    Ok(())
}

/// In the order in which they start.
fn plan(options: &Up, profile: &Profile) -> anyhow::Result<Vec<Plan>> {
    let mut ports = FreePorts::default();
    let mut admin_ports = AdminPorts::new(&options.admin)?;
    let mut service = |name: &str, service, listen: Option<SocketAddr>| -> anyhow::Result<Plan> {
        let listen = listen.map_or_else(|| ports.take(), Ok)?;
        let (name, admin) = (name.to_owned(), admin_ports.take()?);
        Ok(Plan { name, service, listen, admin, config: json!({}), set: Vec::new() })
    };
    let mut gateway = service("gateway", "gateway", Some(options.http))?;
    let mut registry = service("registry", "registry", None)?;
    let mut scheduler = service("scheduler", "scheduler", None)?;
    let mut workers = vec![service("worker", "worker", None)?];
    let mut connector = service("connector", "connector", None)?;
    let mut sink = service("sink", "sink", None)?;
    for number in 2..=options.workers {
        workers.push(service(&format!("worker-{number}"), "worker", None)?);
    }

    let services = [&gateway, &registry, &scheduler, &connector, &sink].into_iter().chain(&workers);
    let ports = services.flat_map(|plan| [plan.listen.port(), plan.admin.port()]).chain(options.ports());
    let places = Places {
        ports: ports.collect(),
        registry: registry.url(),
        scheduler: scheduler.url(),
        connector: connector.url(),
        sink: sink.url(),
    };
    let settings = Settings::new(options, profile, places)?;
    registry.config = settings.registry();
    sink.config = settings.sink();
    scheduler.config = settings.scheduler();
    for worker in &mut workers {
        worker.config = settings.worker(&worker.name);
    }
    connector.config = settings.connector();
    gateway.config = settings.gateway();
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
    for plan in &mut plans {
        plan.set = settings.flags(plan.service);
        plan.check(&settings.set(plan.service))?;
    }
    Ok(plans)
}

impl Plan {
    /// Refuses what is wrong with its settings, as the service would again and again.
    fn check(&self, set: &[String]) -> anyhow::Result<()> {
        let config = &self.config;
        let checked = match self.service {
            "registry" => of_settings::<registry_svc::Config>(config, set).map(drop),
            "sink" => of_settings::<sink_svc::Config>(config, set).map(drop),
            "scheduler" => of_settings::<scheduler_svc::Config>(config, set).map(drop),
            "worker" => of_settings::<worker_svc::Config>(config, set).map(drop),
            "connector" => of_settings::<connector_svc::Config>(config, set).map(drop),
            _ => of_settings::<gateway_svc::Config>(config, set).map(drop),
        };
        checked.map_err(|problem| anyhow::anyhow!("{}: {problem}", self.service))
    }

    /// What every service has. `secret` is what they show each other.
    fn configure_as_all(&mut self, options: &Up, secret: &Secret) {
        self.config["server"] = json!({
            "listen": self.listen.to_string(),
            "admin_listen": self.admin.to_string(),
            "secret": secret.expose(),
            "stop_with_parent": true,
        });
        // They write to pipes, and what comes out of these goes where this process writes to.
        let format = if options.log_format.is_human() { "human" } else { "json" };
        self.config["telemetry"] = json!({ "log": options.log, "format": format });
        if let Some(endpoint) = &options.otlp_endpoint {
            self.config["telemetry"]["otlp_endpoint"] = json!(endpoint);
            self.config["telemetry"]["sample_ratio"] = json!(options.sample_ratio);
        }
    }

    fn url(&self) -> String {
        let scheme = if self.config["server"]["tls"].is_null() { "http" } else { "https" };
        format!("{scheme}://{}", self.listen)
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

#[cfg(test)]
mod tests;
