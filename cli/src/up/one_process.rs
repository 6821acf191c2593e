//! The six services in this process, over local channels.

use std::time::Duration;

use anyhow::Context as _;
use mesh::auth::Secret;
use mesh::config::{AdminListen, Listen, ServiceConfig};
use mesh::egress::Resolver;
use mesh::endpoint::Endpoint;
use mesh::health::Condition;
use mesh::listener::{ConnectionLimit, Listener};
use mesh::server::Service;
use mesh::telemetry::Telemetry;
use mesh::{Dialer, Host, metrics};
use serde_json::Value;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::settings::{Places, Settings};
use super::{READY_TIMEOUT, live};
use crate::args::Up;
use crate::profile::Profile;

const DRAIN_TIMEOUT: Duration = Duration::from_secs(30);

/// Runs the mesh until it is asked to stop.
pub async fn run(options: &Up, profile: &Profile, telemetry: &Telemetry) -> anyhow::Result<()> {
    let tls = options.tls().map(|tls| tls.acceptor()).transpose()?;
    let bind = async |whose, flag, address| {
        let bound = Listener::bind(&Listen::Tcp(address)).await;
        bound.map_err(|error| anyhow::anyhow!("{whose}: {error:#}; choose another address with {flag}"))
    };
    let http = bind("gateway (REST)", "--http", options.http).await?.with_tls(tls.clone());
    let grpc = bind("gateway (gRPC)", "--grpc", options.grpc).await?.with_tls(tls);
    let admin = match options.admin {
        AdminListen::At(address) => Some(bind("admin port", "--admin", address).await?),
        AdminListen::Off | AdminListen::Beside => None,
    };

    let mut process = OneProcess { admin_token: profile.admin_token.clone(), ..OneProcess::default() };
    process.start_services(options, profile).await?;
    let mut sockets = JoinSet::new();
    let Gateway { rest, edge, limit, draining } = process.gateway()?;
    sockets.spawn(http.with_limit(limit.clone()).serve(rest, draining.clone(), DRAIN_TIMEOUT));
    sockets.spawn(grpc.with_limit(limit).serve(edge, draining, DRAIN_TIMEOUT));
    let stopped = CancellationToken::new();
    let pages = admin.map(|listener| {
        tokio::spawn(listener.serve(process.admin(telemetry), stopped.clone(), Duration::from_secs(1)))
    });

    let outcome = live(options, profile, process.ready()).await;
    process.drain(sockets).await;
    stopped.cancel();
    if let Some(pages) = pages {
        pages.await?;
    }
    outcome
}

/// What the gateway serves on its sockets.
struct Gateway {
    rest: axum::Router,
    edge: axum::Router,
    limit: ConnectionLimit,
    /// Cancelled to drain it.
    draining: CancellationToken,
}

/// The services that run here, in the order in which they were started.
#[derive(Default)]
struct OneProcess {
    dialer: Dialer,
    services: Vec<RunningService>,
    /// The administrator's, who may change log levels.
    admin_token: Option<Secret>,
}

struct RunningService {
    service: Service,
    host: Host,
    limit: ConnectionLimit,
    serving: Condition,
}

impl OneProcess {
    async fn start_services(&mut self, options: &Up, profile: &Profile) -> anyhow::Result<()> {
        let local = |name: &str| Endpoint::Local(name.to_owned()).to_string();
        let places = Places {
            registry: local("registry"),
            scheduler: local("scheduler"),
            connector: local("connector"),
            sink: local("sink"),
            ports: options.ports(),
        };
        let settings = Settings::new(options, profile, places)?;
        self.open(registry_svc::App::start, settings.registry(), &settings).await?;
        self.open(sink_svc::App::start, settings.sink(), &settings).await?;
        self.open(scheduler_svc::App::start, settings.scheduler(), &settings).await?;
        self.open(worker_svc::App::start, settings.worker("worker"), &settings).await?;
        self.open(connector_svc::App::start, settings.connector(), &settings).await?;
        self.open(gateway_svc::App::start, settings.gateway(), &settings).await
    }

    /// Starts one service and makes it known to the others.
    async fn open<C, F>(
        &mut self,
        start: impl FnOnce(C, Host) -> F,
        settings: Value,
        all: &Settings<'_>,
    ) -> anyhow::Result<()>
    where
        C: ServiceConfig,
        F: Future<Output = anyhow::Result<Service>>,
    {
        let name = C::NAME;
        let config: C = mesh::config::of_settings(&settings, &all.set(name))
            .map_err(|problem| anyhow::anyhow!("{name}: {problem}"))?;
        let host = Host {
            dialer: self.dialer.clone(),
            metrics: metrics::registry_of(name),
            draining: CancellationToken::new(),
            address: Endpoint::Local(name.to_owned()),
            resolver: Resolver::default(),
        };
        let limit = ConnectionLimit::new(config.server().max_connections_per_address, &host.metrics);
        let service = start(config, host.clone()).await.with_context(|| format!("{name} does not start"))?;
        service.readiness.show(&host.metrics);
        self.dialer.provide_service(name, &service);
        let serving = service.readiness.serving();
        self.services.push(RunningService { service, host, limit, serving });
        Ok(())
    }

    /// What the gateway serves on its sockets.
    fn gateway(&self) -> anyhow::Result<Gateway> {
        let running = self
            .services
            .iter()
            .find(|running| running.service.name == "gateway")
            .context("there is no gateway")?;
        let grpc = running.service.more.iter().find(|(name, _)| *name == "grpc_listen");
        let (_, grpc) = grpc.context("the gateway serves no gRPC")?;
        Ok(Gateway {
            rest: running.service.router.clone(),
            edge: grpc.clone(),
            limit: running.limit.clone(),
            draining: running.host.draining.clone(),
        })
    }

    fn admin(&self, telemetry: &Telemetry) -> axum::Router {
        let of_process = metrics::registry_of("mesh");
        telemetry.register(&of_process);
        metrics::show_process(&of_process);
        let registries =
            self.services.iter().map(|running| running.host.metrics.clone()).chain([of_process]).collect();
        let readiness =
            self.services.iter().map(|running| (running.service.name, running.service.readiness.clone()));
        mesh::admin::router(
            registries,
            readiness.collect(),
            telemetry.log().clone(),
            self.admin_token.clone(),
        )
    }

    /// Ends when all services are ready.
    async fn ready(&self) -> anyhow::Result<()> {
        let all = async {
            for running in &self.services {
                // The sender lives as long as the service.
                let _ = running.service.readiness.watch().wait_for(|ready| *ready).await;
            }
        };
        if tokio::time::timeout(READY_TIMEOUT, all).await.is_err() {
            anyhow::bail!("the mesh is not ready, waiting for {}", self.missing().join(", "));
        }
        Ok(())
    }

    fn missing(&self) -> Vec<String> {
        let missing = |running: &RunningService| {
            let conditions = running.service.readiness.missing();
            conditions
                .into_iter()
                .map(|condition| format!("{}: {condition}", running.service.name))
                .collect::<Vec<_>>()
        };
        self.services.iter().flat_map(missing).collect()
    }

    /// Stops what was started last first: a service stops after those that call it.
    async fn drain(self, sockets: JoinSet<()>) {
        for running in &self.services {
            running.serving.set(false);
        }
        let mut sockets = Some(sockets);
        for running in self.services.into_iter().rev() {
            running.host.draining.cancel();
            if let Some(gateways) = sockets.take() {
                gateways.join_all().await;
            }
            running.service.tasks.stop(DRAIN_TIMEOUT).await;
        }
    }
}
