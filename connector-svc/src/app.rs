//! Where the connector's parts are wired together.

use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use mesh::bindings::{Replica, Tenure};
use mesh::database::DatabaseError;
use mesh::health::{Condition, Readiness};
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::{Host, MAX_MESSAGE_BYTES};
use proto::connector::v1::dead_letters_server::DeadLettersServer;
use proto::connector::v1::events_server::EventsServer;
use proto::registry::v1::{BindingRole, FunctionBinding};

use crate::binding::BoundFunction;
use crate::config::Config;
use crate::grpc::{DeadLettersHandler, EventsHandler};
use crate::intake::Intake;
use crate::invoker::Invoker;
use crate::journal::{Change, Journal, Write};
use crate::kinds;
use crate::metrics::Metrics;
use crate::sweep::keep_sweeping;

/// How often the database is asked whether it is there.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

/// The connector.
#[derive(Debug)]
pub struct App;

impl App {
    /// Wires the connector. A database of this machine has to be there; without PostgreSQL it starts as
    /// well, and is not ready until that comes.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();

        let journal = Journal::open(&config.database_url, config.database_connections, &tasks).await?;
        let answers = readiness.condition("database");
        let mut database = Database { journal: journal.clone(), is_prepared: false, answers };
        match database.poll().await {
            Ok(()) => {}
            Err(DatabaseError::Unavailable(cause)) => {
                tracing::warn!(database = ?config.database_url, %cause, "starting without the database");
            }
            Err(error) => return Err(error).context(format!("database_url: {:?}", config.database_url)),
        }
        tasks.spawn(database.keep_polling());

        let registry = host.dialer.dial(&config.registry)?;
        tasks.spawn(keep_sweeping(journal.clone(), registry.clone()));
        let timeout = Duration::from_secs(config.invocation_timeout_s);
        let invoker = Invoker::new(host.dialer.dial(&config.scheduler)?, timeout);
        let replica = Replica::new(BindingRole::Event, registry.clone(), host.address.clone());
        let board = replica.board();
        let runner = Runner {
            journal: journal.clone(),
            invoker: invoker.clone(),
            metrics: Metrics::new(&host.metrics),
        };
        let (following, stopping) = (readiness.condition("registry"), tasks.stopping().clone());
        tasks.spawn_until_done(async move {
            let journal = runner.journal.clone();
            replica.run(following, stopping, move |bound, tenure| runner.clone().run(bound, tenure)).await;
            journal.close();
        });

        let events = EventsHandler::new(journal.clone(), board, registry, host.dialer.clone(), host.address);
        let dead_letters = DeadLettersHandler::new(journal, invoker);
        let router = Grpc::default()
            .service(EventsServer::new(events).max_decoding_message_size(MAX_MESSAGE_BYTES))
            .service(
                DeadLettersServer::new(dead_letters)
                    .max_decoding_message_size(MAX_MESSAGE_BYTES)
                    .max_encoding_message_size(MAX_MESSAGE_BYTES),
            )
            .build(&config.server, &host.metrics, &readiness, &tasks);
        Ok(Service { name: "connector", router, more: Vec::new(), tasks, readiness })
    }
}

/// What each binding runs with.
#[derive(Clone)]
struct Runner {
    journal: Journal,
    invoker: Invoker,
    metrics: Metrics,
}

impl Runner {
    /// Runs a binding for its tenure.
    async fn run(self, bound: FunctionBinding, tenure: Tenure) {
        let source = match kinds::read(&bound.binding.clone().unwrap_or_default()) {
            Ok(source) => source,
            Err(problem) => {
                // A connector of another version has let it in.
                tenure.report.retrying(problem);
                tenure.ended().await;
                return;
            }
        };
        let bound = Arc::new(BoundFunction::of(&bound));
        let metrics = self.metrics.of(&bound.kind);
        let open =
            Write { binding_id: Arc::clone(&bound.binding_id), change: Change::Open(Arc::clone(&bound)) };
        let handling = source.handling.clone();
        let intake =
            Intake::new(bound, handling, tenure.revision, self.journal.clone(), self.invoker, metrics);
        let opened = async {
            self.journal.write(open).await.ok()?;
            Some(intake.entries().await)
        };
        let before = tokio::select! {
            before = opened => before,
            _ = tenure.ended() => None,
        };
        if let Some(before) = before {
            source.run(intake, before, tenure).await;
        }
    }
}

/// Keeps in touch with the database.
struct Database {
    journal: Journal,
    /// The schema is up to date.
    is_prepared: bool,
    answers: Condition,
}

impl Database {
    async fn keep_polling(mut self) {
        let mut answered = self.is_prepared;
        loop {
            tokio::time::sleep(POLL_INTERVAL).await;
            let polled = self.poll().await;
            match &polled {
                Ok(()) if !answered => tracing::info!("the database is there"),
                Err(error) if answered => tracing::warn!(%error, "the database is away"),
                Ok(()) | Err(_) => {}
            }
            answered = polled.is_ok();
        }
    }

    async fn poll(&mut self) -> Result<(), DatabaseError> {
        let polled = self.try_poll().await;
        self.answers.set(polled.is_ok());
        polled
    }

    async fn try_poll(&mut self) -> Result<(), DatabaseError> {
        if !self.is_prepared {
            self.journal.migrate().await?;
            self.is_prepared = true;
        }
        self.journal.poll().await
    }
}
