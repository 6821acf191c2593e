//! Builds the gateway from its parts.

use std::sync::Arc;
use std::time::Duration;

use mesh::Host;
use mesh::config::ServiceConfig as _;
use mesh::contact::RegistryContact;
use mesh::health::Readiness;
use mesh::server::Service;
use mesh::shutdown::Tasks;

use crate::auth::Authenticator;
use crate::clients::Channels;
use crate::config::{Config, GRPC_LISTENER};
use crate::edge::{self, Upstream};
use crate::revision::LatestRevision;
use crate::subscriptions::Subscriptions;
use crate::{probe, rest};

/// The gateway.
#[derive(Debug)]
pub struct App;

impl App {
    /// Builds the gateway. It is ready once the registry is, and while the scheduler is. It outlasts an outage of the
    /// registry for the grace period of tokens.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();

        let contact = RegistryContact::new(&host.metrics);
        let registry = host.dialer.dial(&config.registry)?;
        tasks.spawn(probe::watch_registry(
            registry.clone(),
            contact.clone(),
            readiness.condition("reaches the registry"),
            Duration::from_secs(config.token_grace_s),
        ));
        let registry = registry.with_contact(contact.clone());
        let channels = Channels::dial(&config, &host.dialer, registry.clone())?;
        tasks.spawn(probe::watch(channels.scheduler.clone(), readiness.condition("reaches the scheduler")));

        let authenticator = Authenticator::new(&config, channels.clone(), contact.clone(), &host.metrics);
        let latest_revision = Arc::new(LatestRevision::new(contact));
        let subscriptions = Subscriptions::new(&host, authenticator.clone());
        let upstream = Upstream::new(&config, registry, &authenticator, &subscriptions, &latest_revision);
        let edge = edge::router(&config, &host, upstream, &channels, &readiness, &tasks);
        let rest = rest::router(&config, &host, channels, authenticator, subscriptions, latest_revision);

        Ok(Service {
            name: Config::NAME,
            router: rest,
            methods: None,
            more: vec![(GRPC_LISTENER, edge)],
            tasks,
            readiness,
        })
    }
}
