//! Where the connector's parts are wired together.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use mesh::bindings::{HeldBinding, Lookup, Replica, Report};
use mesh::contact::RegistryContact;
use mesh::database::{self, DatabaseError, Maintain};
use mesh::egress::Egress;
use mesh::group_commit::Closed;
use mesh::health::Readiness;
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::{Caller, Host, MAX_MESSAGE_BYTES};
use proto::connector::v1::dead_letters_server::DeadLettersServer;
use proto::connector::v1::events_server::EventsServer;
use proto::registry::v1::{BindingRole, FunctionBinding};
use tokio::sync::Semaphore;

use crate::binding::BoundFunction;
use crate::config::Config;
use crate::error::DATABASE_UNAVAILABLE;
use crate::grpc::{DeadLettersHandler, EventsHandler};
use crate::intake::Intake;
use crate::invoker::Invoker;
use crate::journal::Journal;
use crate::kinds;
use crate::metrics::{Metrics, totals};
use crate::sweep::keep_sweeping;

/// How long opening a binding's journal may take before its status says so.
const OPEN_TIMEOUT: Duration = Duration::from_secs(1);

/// The maximum number of bindings that open their journal at once: as many as share a transaction.
const OPENED_AT_ONCE: usize = 512;

/// The connector.
#[derive(Debug)]
pub struct App;

impl App {
    /// Wires the connector. A local database must exist. If PostgreSQL is not available, the connector starts
    /// nevertheless, and is not ready until it is.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();

        let journal = Journal::open(&config.database_url, config.database_connections, &tasks).await?;
        journal.show(&host.metrics);
        let metrics = Metrics::new(&host.metrics, &kinds::KINDS);
        let answers = readiness.condition("database");
        let maintenance = DatabaseMaintenance { journal: journal.clone(), metrics: metrics.clone() };
        database::maintain(maintenance, &config.database_url, answers, &tasks).await?;

        tasks.spawn(mesh::clock::follow());
        let registry = host.dialer.dial(&config.registry)?;
        tasks.spawn(keep_sweeping(journal.clone(), registry.clone()));
        let timeout = Duration::from_secs(config.invocation_timeout_s);
        let invoker = Invoker::new(host.dialer.dial(&config.scheduler)?, timeout);
        let replica = Replica::new(BindingRole::Event, registry.clone(), host.address.clone());
        let board = replica.board();
        let services = [&config.registry, &config.scheduler];
        let egress = host.egress(&config.egress, &config.server, &services, &kinds::BROKERS);
        let runner = Arc::new(Runner {
            journal: journal.clone(),
            invoker: invoker.clone(),
            metrics: metrics.clone(),
            egress,
            opening: Semaphore::new(OPENED_AT_ONCE),
        });
        let following = readiness.condition("registry").kept(RegistryContact::new(&host.metrics));
        let (holding, stopping) = (readiness.condition("bindings"), tasks.stopping().clone());
        tasks.spawn_until_done(async move {
            let journal = runner.journal.clone();
            let run = move |bound, held| Arc::clone(&runner).run(bound, held);
            replica.run(following, holding, stopping, run).await;
            journal.close();
        });

        let lookup = Lookup { board, registry, dialer: host.dialer, address: host.address };
        let events = EventsHandler::new(journal.clone(), lookup);
        let dead_letters = DeadLettersHandler::new(journal, invoker, metrics);
        let router = Grpc::default()
            .service(EventsServer::new(events).max_decoding_message_size(MAX_MESSAGE_BYTES))
            .service(
                DeadLettersServer::new(dead_letters)
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES),
            )
            .build(&config.server, &host.metrics, &readiness, &tasks);
        Ok(Service { name: "connector", router, methods: None, more: Vec::new(), tasks, readiness })
    }
}

/// What every binding needs to run. Bindings share it.
struct Runner {
    journal: Journal,
    invoker: Invoker,
    metrics: Metrics,
    egress: Egress,
    /// The turns to open the journal.
    opening: Semaphore,
}

impl Runner {
    /// Runs a binding until its lease ends.
    async fn run(self: Arc<Self>, bound: FunctionBinding, held: HeldBinding) {
        let source = match kinds::read(&bound.binding.clone().unwrap_or_default()) {
            Ok(source) => source,
            Err(problem) => {
                // A connector of another version has accepted it.
                held.report.retrying(problem);
                held.ended().await;
                return;
            }
        };
        let bound = BoundFunction::of(&bound);
        let outbound = self.egress.of(source.kind, &format!("{}/{}", bound.module, bound.function));
        let metrics = self.metrics.of(&bound.kind);
        let described = (source.origin.clone(), source.handling.clone());
        let _running = metrics.count_binding(source.handling.max_in_flight);
        let opened = async {
            // It is never closed.
            let _turn = self.opening.acquire().await.ok();
            // Boxed, so that a binding that waits or runs does not take the memory.
            let opened = Box::pin(async {
                let (journal, invoker) = (self.journal.clone(), self.invoker.clone());
                let open = Intake::open(bound, described, held.revision, journal, invoker, metrics);
                let intake = open.await?;
                // Read after it is open: from then on no former holder begins events.
                let entries = intake.entries().await;
                Ok::<_, Closed>((intake, entries))
            });
            opened.await
        };
        let opened = tokio::select! {
            opened = opened => opened,
            never = report_when_late(&held.report) => match never {},
            _ = held.ended() => return,
        };
        if let Ok((intake, entries)) = opened {
            source.run(outbound, intake, entries, held).await;
        }
    }
}

/// Reports that the database is not available, after a while.
async fn report_when_late(report: &Report) -> Infallible {
    tokio::time::sleep(OPEN_TIMEOUT).await;
    report.retrying(DATABASE_UNAVAILABLE);
    std::future::pending().await
}

struct DatabaseMaintenance {
    journal: Journal,
    metrics: Metrics,
}

impl Maintain for DatabaseMaintenance {
    async fn prepare(&mut self) -> Result<(), DatabaseError> {
        self.journal.migrate().await
    }

    async fn refresh(&mut self) -> Result<(), DatabaseError> {
        self.journal.poll().await
    }

    async fn audit(&mut self) -> anyhow::Result<()> {
        let ledgers = self.journal.ledgers(&Caller::Service).await?;
        self.metrics.ledgers.set(&ledgers.iter().map(totals).collect::<Vec<_>>());
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_binding_that_runs_takes_little_memory() {
        fn run_size<F: Future>(_: impl FnOnce(Arc<Runner>, FunctionBinding, HeldBinding) -> F) -> usize {
            size_of::<F>()
        }
        let size = run_size(Runner::run);
        assert!(size <= 2 << 10, "{size} bytes");
    }
}
