//! Wires the parts of the worker.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mesh::contact::RegistryContact;
use mesh::endpoint::Endpoint;
use mesh::health::{Condition, Readiness};
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::{Channel, Host, MAX_MESSAGE_BYTES, follow};
use proto::Execute;
use proto::scheduler::v1::WorkerIdentity;
use proto::worker::v1::execution_server::{Execution as _, ExecutionServer};
use proto::worker::v1::logs_server::LogsServer;

use crate::admission::Admission;
use crate::budget::MemoryBudget;
use crate::code_source::CodeSource;
use crate::config::{Advertise, Config};
use crate::grpc::{ExecutionHandler, LogsHandler};
use crate::load::{LoadGauges, LoadMeter};
use crate::logs::Logs;
use crate::metrics::Metrics;
use crate::preparation::Preparation;
use crate::report::{Memberships, Reporter};
use crate::running::RunningInvocations;
use crate::runtime::limits::Limits;
use crate::runtime::{CodeCache, EGRESS_KIND, Runtime, RuntimeParts};
use crate::tunnel::Tunnels;

/// The worker.
#[derive(Debug)]
pub struct App;

impl App {
    /// Starts the worker. It is ready once it has followed the registry, and while it has joined a scheduler.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();
        let metrics = Metrics::new(&host.metrics, &config.name);
        let running = RunningInvocations::default();
        let load = measured_load(&config, &host, &tasks, running.clone(), &metrics)?;
        let address = advertised(&config, &host)?;

        let registry = host.dialer.dial(&config.registry).context("registry")?;
        let source = CodeSource::new(registry.clone(), Duration::from_millis(config.fetch_timeout_ms));
        let services: Vec<_> = [&config.registry].into_iter().chain(&config.schedulers).collect();
        let egress = host.egress(&config.egress, &config.server, &services, &[EGRESS_KIND]);
        let memory_total = load.measure().load.memory_total;
        let budget = MemoryBudget::new(memory_total, metrics.guest_memory.clone());
        let logs = Logs::new(config.log_ring_bytes, budget.shown_by(metrics.log_bytes.clone()));
        let admission = Admission::new(&config, running, host.draining.clone());
        admission.register_metrics(&host.metrics);
        let permits = admission.permits().clone();
        let parts =
            RuntimeParts { egress, permits, budget, source, logs: logs.clone(), metrics: metrics.clone() };
        let runtime = Runtime::new(&config, parts, &tasks)?;
        let runtime = Arc::new(runtime);
        runtime.code.register_metrics(&host.metrics);

        let following = readiness.condition("registry").kept(RegistryContact::new(&host.metrics));
        let preparation = prepare_code(&runtime.code, registry, following, &tasks);

        let reporter = Reporter {
            identity: identity(&config, address.as_ref()),
            load,
            preparation,
            draining: host.draining.clone(),
            stopping: tasks.stopping().clone(),
            memberships: Memberships::new(readiness.condition("scheduler")),
        };

        let execution = ExecutionHandler { admission, runtime, limits: Limits::of_worker(&config), metrics };
        let execution = Arc::new(execution);
        let direct = Arc::clone(&execution);
        let execution = ExecutionServer::from_arc(execution)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let logs = LogsHandler { logs, worker: config.name.clone(), draining: host.draining.clone() };
        let logs = LogsServer::new(logs).max_encoding_message_size(MAX_MESSAGE_BYTES);
        let services =
            Grpc::default().service(execution).service(logs).method::<Execute, _>(move |request| {
                let execution = Arc::clone(&direct);
                async move { execution.execute(request).await }
            });
        let (router, methods) =
            services.build_with_methods(&config.server, &host.metrics, &readiness, &tasks);

        let tunnels = address.is_none().then(|| Tunnels {
            router: router.clone(),
            draining: host.draining.clone(),
            drain_timeout: Duration::from_secs(config.server.drain_timeout_s),
            tasks: tasks.clone(),
        });
        for scheduler in &config.schedulers {
            let channel = host.dialer.dial(scheduler).context("schedulers")?;
            // It ends by itself, after it has left the scheduler.
            tasks.spawn_until_done(reporter.clone().run(channel, tunnels.clone()));
        }
        Ok(Service { name: "worker", router, methods: Some(methods), more: Vec::new(), tasks, readiness })
    }
}

/// Prepares the code of all functions, and looks after what is prepared.
fn prepare_code(code: &CodeCache, registry: Channel, following: Condition, tasks: &Tasks) -> Preparation {
    let preparation = Preparation::new();
    let followed = preparation.clone();
    tasks.spawn(follow::follow(registry, following, move |update| followed.apply(update)));
    tasks.spawn(preparation.clone().run(code.clone()));
    tasks.spawn(code.clone().run());
    let code = code.clone();
    tasks.at_end(async move { code.remember_loaded().await });
    preparation
}

/// Measures the load, and registers it as metrics.
fn measured_load(
    config: &Config,
    host: &Host,
    tasks: &Tasks,
    running: RunningInvocations,
    metrics: &Metrics,
) -> anyhow::Result<Arc<LoadMeter>> {
    let load = Arc::new(LoadMeter::new(config, running, metrics)?);
    mesh::metrics::register(&host.metrics, LoadGauges::new(Arc::clone(&load), &config.name));
    tasks.spawn(Arc::clone(&load).follow_cpu_use());
    Ok(load)
}

/// As which it joins schedulers.
fn identity(config: &Config, address: Option<&Endpoint>) -> WorkerIdentity {
    WorkerIdentity {
        id: uuid::Uuid::now_v7().to_string(),
        name: config.name.clone(),
        tag: config.tag.clone(),
        address: address.map(ToString::to_string).unwrap_or_default(),
        labels: config.labels.clone().into_iter().collect(),
    }
}

/// The address at which schedulers reach this worker.
fn advertised(config: &Config, host: &Host) -> anyhow::Result<Option<Endpoint>> {
    let address = match &config.advertise {
        Advertise::ListenAddress => &host.address,
        Advertise::None => return Ok(None),
        Advertise::Address(address) => address,
    };
    if let Endpoint::Tcp(uri) = address {
        let name = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let unspecified = name.parse::<std::net::IpAddr>().is_ok_and(|ip| ip.is_unspecified());
        anyhow::ensure!(
            !unspecified,
            "advertise: schedulers cannot reach {address}; expected the address at which they reach this \
             worker, such as http://worker-1:4003, or none"
        );
    }
    Ok(Some(address.clone()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unspecified_address_is_refused() {
        let endpoint = |text: &str| text.parse::<Endpoint>().expect("well-formed");
        let address_for = |listening: &str, advertise: Advertise| {
            let config = Config { advertise, ..Config::default() };
            let host = Host::new(&config.server, endpoint(listening)).expect("a host");
            let address = advertised(&config, &host).map_err(|error| error.to_string());
            address.map(|address| address.map(|address| address.to_string()))
        };
        let address = |text: &str| Ok(Some(text.to_owned()));
        let listening = || Advertise::ListenAddress;
        assert_eq!(address_for("http://10.0.0.1:4003", listening()), address("http://10.0.0.1:4003"));
        let elsewhere = Advertise::Address(endpoint("http://w:4003"));
        assert_eq!(address_for("http://0.0.0.0:4003", elsewhere), address("http://w:4003"));
        for unspecified in ["http://0.0.0.0:4003", "http://[::]:4003"] {
            let error = address_for(unspecified, listening()).expect_err(unspecified);
            assert!(error.starts_with("advertise: "), "{error}");
            assert_eq!(address_for(unspecified, Advertise::None), Ok(None));
        }
    }
}
