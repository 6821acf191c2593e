//! Wires the registry's parts together.

use std::sync::Arc;

use mesh::database::{self, DatabaseUrl, Maintain};
use mesh::health::Readiness;
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::{Host, MAX_MESSAGE_BYTES};
use parking_lot::Mutex;
use prometheus::IntGauge;
use proto::registry::v1::authentication_server::AuthenticationServer;
use proto::registry::v1::bindings_server::BindingsServer;
use proto::registry::v1::code_store_server::CodeStoreServer;
use proto::registry::v1::functions_server::FunctionsServer;
use proto::registry::v1::modules_server::ModulesServer;
use proto::registry::v1::revisions_server::RevisionsServer;
use proto::registry::v1::scripts_server::ScriptsServer;
use proto::registry::v1::subjects_server::SubjectsServer;
use proto::registry::v1::watch_server::WatchServer;

use crate::code::Uploads;
use crate::config::Config;
use crate::grpc::Handler;
use crate::known_bindings::KnownBindings;
use crate::metrics::Metrics;
use crate::registry::Registry;
use crate::store::{Renewals, Result, Store};
use crate::subjects::{self, BootstrapSubject};
use crate::watch::SubscriptionServer;

/// The registry.
#[derive(Debug)]
pub struct App;

impl App {
    /// Starts the registry. Fails if an SQLite database cannot be opened. If PostgreSQL is unavailable, the
    /// registry starts but is not ready until it can connect.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();
        let metrics = Metrics::new(&host.metrics);

        for warning in config.warnings() {
            tracing::warn!("{warning}");
        }
        let keyring = config.keyring().map_err(anyhow::Error::msg)?;
        let (url, connections) = (&config.database_url, config.database_connections);
        let store = Store::open(url, connections, config.changes_kept, keyring, &tasks).await?;
        store.show(&host.metrics);
        let uploads = Uploads::new(config.max_code_bytes, config.upload_memory_bytes, metrics.uploads);
        let token_ttl_ms = i64::try_from(config.token_ttl_s.saturating_mul(1000)).unwrap_or(i64::MAX);
        let renewals = match url {
            DatabaseUrl::Postgres(_) => None,
            DatabaseUrl::SqliteFile(_) | DatabaseUrl::SqliteMemory => {
                Some(Renewals::new(config.binding_lease_ms))
            }
        };
        let registry = Arc::new(Registry {
            store,
            uploads,
            max_memory_bytes: config.max_memory_bytes,
            token_ttl_ms,
            max_params_bytes_per_subject: config.max_params_bytes_per_subject.into(),
            renewals,
            binding_lease_ms: config.binding_lease_ms,
            known_bindings: KnownBindings::default(),
            unreadable_logged: Mutex::default(),
        });

        let maintenance = Maintenance {
            registry: Arc::clone(&registry),
            subjects: subjects::bootstrap(&config),
            revision: metrics.revision,
        };
        database::maintain(maintenance, &config.database_url, readiness.condition("database"), &tasks)
            .await?;
        tasks.spawn({
            let registry = Arc::clone(&registry);
            async move { registry.store.follow_notifications().await }
        });

        let subscriptions = Arc::new(SubscriptionServer::new(Arc::clone(&registry), metrics.watchers));
        let handler = Arc::new(Handler { registry, subscriptions, draining: host.draining.clone() });
        let router = services(&handler).build(&config.server, &host.metrics, &readiness, &tasks);
        Ok(Service { name: "registry", router, methods: None, more: Vec::new(), tasks, readiness })
    }
}

fn services(handler: &Arc<Handler>) -> Grpc {
    // A macro, because the generated servers have no common trait with these two methods.
    macro_rules! server {
        ($server:ident) => {
            $server::from_arc(Arc::clone(handler))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        };
    }
    Grpc::default()
        .service(server!(ModulesServer))
        .service(server!(FunctionsServer))
        .service(server!(CodeStoreServer))
        .service(server!(BindingsServer))
        .service(server!(ScriptsServer))
        .service(server!(SubjectsServer))
        .service(server!(AuthenticationServer))
        .service(server!(WatchServer))
        .service(server!(RevisionsServer))
}

/// Prepares the database and keeps the known revision up to date.
struct Maintenance {
    registry: Arc<Registry>,
    subjects: Vec<BootstrapSubject>,
    revision: IntGauge,
}

impl Maintain for Maintenance {
    async fn prepare(&mut self) -> Result<()> {
        self.registry.store.prepare().await?;
        self.registry.ensure_subjects(&self.subjects).await
    }

    async fn refresh(&mut self) -> Result<()> {
        self.registry.store.refresh().await?;
        self.revision.set(self.registry.store.newest().borrow().cast_signed());
        Ok(())
    }
}
