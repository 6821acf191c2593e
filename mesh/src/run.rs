//! The lifecycle of a service's process: read the configuration, set up telemetry, bind, build, serve, drain.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use clap::Parser as _;
use prometheus::Registry;
use tokio_util::sync::CancellationToken;

use crate::channel::Dialer;
use crate::config::{self, Arguments, Command, Listen, ServerConfig, ServiceConfig};
use crate::egress::{Egress, EgressConfig, Resolver};
use crate::endpoint::Endpoint;
use crate::listener::{ConnectionLimit, Listener};
use crate::server::Service;
use crate::tls::{ClientTls, ServerTlsConfig};
use crate::{admin, healthcheck, metrics, shutdown, telemetry, tls};

/// The environment in which an `App` is started.
#[derive(Debug, Clone)]
pub struct Host {
    /// Makes channels to other services.
    pub dialer: Dialer,
    /// The registry of its metrics.
    pub metrics: Registry,
    /// Cancelled when it should refuse new work and end its subscriptions.
    pub draining: CancellationToken,
    /// The endpoint of `server.listen`, or of its local channel.
    pub address: Endpoint,
    /// Resolves the names that egress is to.
    pub resolver: Resolver,
}

impl Host {
    /// The environment of a service at `address` that dials with the secret and TLS of `config`.
    pub fn new(config: &ServerConfig, address: Endpoint) -> anyhow::Result<Self> {
        let tls = config.client_tls.as_ref().map(ClientTls::read).transpose()?;
        Ok(Self {
            dialer: Dialer::new(config.secret.clone(), tls),
            metrics: Registry::new(),
            draining: CancellationToken::new(),
            address,
            resolver: Resolver::default(),
        })
    }

    /// The egress policy of this service, which calls `services`, for these kinds of connections.
    pub fn egress(
        &self,
        config: &EgressConfig,
        server: &ServerConfig,
        services: &[&Endpoint],
        kinds: &[&str],
    ) -> Egress {
        let admin = match &self.address {
            Endpoint::Tcp(_) => server.admin_listen.address(&server.listen).map(|address| address.port()),
            _ => None,
        };
        let services = services.iter().copied().chain([&self.address]).filter_map(Endpoint::port);
        Egress::new(config, services.chain(admin), self.resolver.clone(), &self.metrics, kinds)
    }
}

/// The `main` function of a service: reads the configuration and runs the service that `start` builds until
/// the process is asked to stop; or does what a command of the arguments says instead.
pub fn run<C, F>(start: impl FnOnce(C, Host) -> F) -> ExitCode
where
    C: ServiceConfig,
    F: Future<Output = anyhow::Result<Service>>,
{
    let arguments = Arguments::parse();
    let config: C = match config::load(&arguments) {
        Ok(config) => config,
        Err(message) => return fail(&message),
    };
    if let Err(message) = config::refuse_open_port(&config) {
        return fail(&message);
    }
    match arguments.command {
        Some(Command::Healthcheck) => match healthcheck::run(config.server()) {
            Ok(()) => return ExitCode::SUCCESS,
            Err(message) => return fail(&message),
        },
        None => {}
    }
    tls::install_crypto();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(&error.to_string()),
    };
    match runtime.block_on(run_service(config, start)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

#[expect(clippy::print_stderr, reason = "telemetry may not be set up yet")]
fn fail(message: &str) -> ExitCode {
    eprintln!("error: {message}");
    ExitCode::FAILURE
}

/// Binds a listener. An error names the service, the address and the key that selects another address.
async fn bind(service: &str, key: &str, listen: &Listen) -> anyhow::Result<Listener> {
    let bound = Listener::bind(listen).await;
    bound.map_err(|error| anyhow::anyhow!("{service}: {error:#}; choose another address with {key}"))
}

async fn run_service<C, F>(config: C, start: impl FnOnce(C, Host) -> F) -> anyhow::Result<()>
where
    C: ServiceConfig,
    F: Future<Output = anyhow::Result<Service>>,
{
    let telemetry = telemetry::init(C::NAME, config.telemetry())?;
    let server = config.server().clone();
    if server.stop_with_parent {
        rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))?;
    }
    let tls = server.tls.as_ref().map(ServerTlsConfig::acceptor).transpose()?;
    let listener = bind(C::NAME, "server.listen", &server.listen).await?.with_tls(tls.clone());
    let admin_listener = match server.admin_listen.address(&server.listen) {
        Some(address) => Some(bind(C::NAME, "server.admin_listen", &Listen::Tcp(address)).await?),
        None => None,
    };
    let mut more_listeners = Vec::new();
    for (name, listen) in config.more_listeners() {
        more_listeners.push((name, bind(C::NAME, name, &listen).await?.with_tls(tls.clone())));
    }

    let metrics = metrics::registry_of(C::NAME);
    let host = Host { metrics, ..Host::new(&server, listener.endpoint()?)? };
    let limit = ConnectionLimit::new(server.max_connections_per_address, &host.metrics);
    telemetry.register(&host.metrics);
    metrics::show_process(&host.metrics);
    let service = start(config, host.clone()).await?;
    service.readiness.show(&host.metrics);
    tracing::info!(address = %host.address, "{} serves", service.name);
    let mut sockets = vec![(listener.with_limit(limit.clone()), service.router)];
    for (name, router) in service.more {
        let position = more_listeners.iter().position(|(listener, _)| *listener == name);
        let position = position.with_context(|| format!("nothing listens for {name}"))?;
        sockets.push((more_listeners.swap_remove(position).1.with_limit(limit.clone()), router));
    }

    let drain_timeout = Duration::from_secs(server.drain_timeout_s);
    let stopped = CancellationToken::new();
    let admin_server = admin_listener.map(|listener| {
        let readiness = vec![(service.name, service.readiness.clone())];
        let router = admin::router(
            vec![host.metrics.clone()],
            readiness,
            telemetry.log().clone(),
            server.secret.clone(),
        );
        tokio::spawn(listener.serve(router, stopped.clone(), Duration::from_secs(1)))
    });
    let serving = service.readiness.serving();
    let servers = sockets
        .into_iter()
        .map(|(listener, router)| tokio::spawn(listener.serve(router, host.draining.clone(), drain_timeout)));
    let servers: Vec<_> = servers.collect();

    shutdown::requested().await?;
    serving.set(false);
    host.draining.cancel();
    futures::future::join_all(servers).await;
    service.tasks.stop(drain_timeout).await;
    stopped.cancel();
    if let Some(admin_server) = admin_server {
        admin_server.await?;
    }
    tracing::info!("{} has stopped", service.name);
    tokio::task::spawn_blocking(|| telemetry.shutdown()).await?;
    Ok(())
}
