//! Where the sink's parts are wired together.

use std::sync::Arc;
use std::time::Duration;

use mesh::bindings::{Lookup, Replica};
use mesh::clock::ago_ms;
use mesh::contact::RegistryContact;
use mesh::database::{self, DatabaseError, Maintain};
use mesh::health::Readiness;
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::{Host, MAX_MESSAGE_BYTES};
use proto::registry::v1::BindingRole;
use proto::sink::v1::dead_letters_server::DeadLettersServer;
use proto::sink::v1::delivery_server::DeliveryServer;
use proto::sink::v1::sinks_server::SinksServer;

use crate::config::Config;
use crate::delivery::{DeliveryContext, RemovedBindings};
use crate::error::Result;
use crate::grpc::Handler;
use crate::kinds::{KINDS, Network};
use crate::metrics::{Metrics, totals};
use crate::outbox::{Amount, Outbox};
use crate::trace::Stores;

/// The sink.
#[derive(Debug)]
pub struct App;

impl App {
    /// Wires the sink. A local database must exist. If PostgreSQL is not available, the sink starts nevertheless, and
    /// is not ready until it is.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();
        let metrics = Metrics::new(&host.metrics);
        let outbox = open_outbox(&config, &metrics, &readiness, &tasks).await?;
        outbox.show(&host.metrics);

        let registry = host.dialer.dial(&config.registry)?;
        let replica = Replica::new(BindingRole::Sink, registry.clone(), host.address.clone());
        let board = replica.board();
        let egress = host.egress(&config.egress, &config.server, &[&config.registry], &KINDS);
        let network = Network::new(egress)?;
        let stores = Stores::default();
        let context = DeliveryContext::new(outbox.clone(), network.clone(), metrics.clone(), stores.clone());
        let context = Arc::new(context);
        let removed_after = Duration::from_secs(config.removed_after_s);
        let removed = RemovedBindings::new(Arc::clone(&context), board.clone(), removed_after);
        tasks.spawn(removed.keep_dead_lettering(registry.clone()));
        tasks.spawn_until_done({
            let (outbox, stopping) = (outbox.clone(), tasks.stopping().clone());
            let following = readiness.condition("registry").kept(RegistryContact::new(&host.metrics));
            let holding = readiness.condition("bindings");
            async move {
                let run = |binding, held| Arc::clone(&context).run(binding, held);
                replica.run(following, holding, stopping, run).await;
                outbox.close();
            }
        });

        let handler = Handler {
            outbox,
            network,
            metrics,
            stores,
            lookup: Lookup { board, registry, dialer: host.dialer.clone(), address: host.address.clone() },
        };
        let router = services(handler).build(&config.server, &host.metrics, &readiness, &tasks);
        Ok(Service { name: "sink", router, methods: None, more: Vec::new(), tasks, readiness })
    }
}

fn services(handler: Handler) -> Grpc {
    let handler = Arc::new(handler);
    // A macro, since the generated servers share no trait that has these two methods.
    macro_rules! server {
        ($server:ident) => {
            $server::from_arc(Arc::clone(&handler))
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES)
        };
    }
    Grpc::default()
        .service(server!(SinksServer))
        .service(server!(DeliveryServer))
        .service(server!(DeadLettersServer))
}

/// Opens the outbox and maintains its database.
async fn open_outbox(
    config: &Config,
    metrics: &Metrics,
    readiness: &Readiness,
    tasks: &Tasks,
) -> anyhow::Result<Outbox> {
    let signed = |value| i64::try_from(value).unwrap_or(i64::MAX);
    let limit = Amount { rows: signed(config.max_outbox_rows), bytes: signed(config.max_outbox_bytes) };
    let outbox = Outbox::open(&config.database_url, config.database_connections, limit, tasks).await?;
    let maintenance = Maintenance {
        outbox: outbox.clone(),
        metrics: metrics.clone(),
        remember: Duration::from_secs(config.remember_delivered_s),
        remember_rows: signed(config.remember_delivered_rows),
    };
    database::maintain(maintenance, &config.database_url, readiness.condition("database"), tasks).await?;
    Ok(outbox)
}

/// Maintains the outbox and its metrics.
struct Maintenance {
    outbox: Outbox,
    metrics: Metrics,
    /// How long delivered results are remembered.
    remember: Duration,
    /// The maximum number of delivered results that are remembered.
    remember_rows: i64,
}

impl Maintain for Maintenance {
    async fn prepare(&mut self) -> Result<(), DatabaseError> {
        self.outbox.migrate().await
    }

    async fn refresh(&mut self) -> Result<(), DatabaseError> {
        let refreshed = self.outbox.refresh().await;
        let waiting = self.outbox.waiting();
        self.metrics.pending.set(waiting.rows);
        self.metrics.pending_bytes.set(waiting.bytes);
        refreshed?;
        if let Err(error) = self.delete_settled().await {
            tracing::debug!(%error, "old delivered results could not be deleted; trying again later");
        }
        Ok(())
    }

    async fn audit(&mut self) -> anyhow::Result<()> {
        let ledgers: Vec<_> = self.outbox.ledgers().await?.into_iter().map(|owned| owned.it).collect();
        self.metrics.ledgers.set(&ledgers.iter().map(totals).collect::<Vec<_>>());
        Ok(())
    }
}

impl Maintenance {
    /// Deletes delivered results that need not be remembered, in batches.
    async fn delete_settled(&self) -> Result<()> {
        let before_ms = ago_ms(self.remember);
        while self.outbox.delete_settled(before_ms, self.remember_rows).await? > 0 {}
        Ok(())
    }
}
