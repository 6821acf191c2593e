//! Builds the gateway from its parts.

use std::sync::Arc;
use std::time::Duration;

use mesh::Host;
use mesh::config::ServiceConfig as _;
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
    /// Builds the gateway. It is ready while the registry and the scheduler are.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();

        let channels = Channels::dial(&config, &host.dialer)?;
        tasks.spawn(probe::watch(channels.registry.clone(), readiness.condition("reaches the registry")));
        tasks.spawn(probe::watch(channels.scheduler.clone(), readiness.condition("reaches the scheduler")));

        let cache_ttl = Duration::from_secs(config.token_cache_s);
        let authenticator = Authenticator::new(channels.clone(), cache_ttl);
        let latest_revision = Arc::new(LatestRevision::default());
        let subscriptions = Subscriptions::new(&host, authenticator.clone());
        let registry = channels.registry.clone();
        let upstream = Upstream::new(&config, registry, &authenticator, &subscriptions, &latest_revision);
        let edge = edge::router(&config, &host, upstream, &channels, &readiness, &tasks);
        let rest = rest::router(&config, &host, channels, authenticator, subscriptions, latest_revision);

        Ok(Service { name: Config::NAME, router: rest, more: vec![(GRPC_LISTENER, edge)], tasks, readiness })
    }
}
