//! Where the scheduler's parts are wired together.

use std::sync::Arc;
use std::time::Duration;

use mesh::contact::RegistryContact;
use mesh::fair_limit::FairLimit;
use mesh::health::{Condition, Readiness};
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::{Channel, Host, MAX_MESSAGE_BYTES};
use proto::Invoke;
use proto::scheduler::v1::cluster_server::ClusterServer;
use proto::scheduler::v1::invocations_server::{Invocations, InvocationsServer};
use proto::scheduler::v1::logs_server::LogsServer;
use proto::scheduler::v1::membership_server::MembershipServer;
use proto::scheduler::v1::policies_server::PoliciesServer;
use tokio::sync::watch;
use tokio_util::task::TaskTracker;

use crate::catalog::Catalog;
use crate::config::Config;
use crate::delivery::Delivery;
use crate::dispatch::Dispatcher;
use crate::grpc::{ClusterHandler, InvocationsHandler, LogsHandler, MembershipHandler, PoliciesHandler};
use crate::measurements::Measurements;
use crate::membership::Members;
use crate::metrics::Metrics;
use crate::revisions::Revisions;

/// The scheduler.
#[derive(Debug)]
pub struct App;

impl App {
    /// Wires the scheduler.
    pub async fn start(config: Config, host: Host) -> anyhow::Result<Service> {
        let tasks = Tasks::default();
        let readiness = Readiness::default();
        let metrics = Metrics::new(&host.metrics, config.functions_in_metrics);

        let catalog = Arc::new(Catalog::default());
        let registry = host.dialer.dial(&config.registry)?;
        let revisions = Arc::new(Revisions::new(Arc::clone(&catalog), registry.clone()));
        let following = readiness.condition("registry").kept(RegistryContact::new(&host.metrics));
        tasks.spawn(follow(registry, following, Arc::clone(&catalog), metrics.clone()));

        let members = Arc::new(Members::new(&config, host.dialer.clone(), metrics.clone()));
        members.show(&host.metrics);
        catalog.show(&host.metrics);
        tasks.spawn({
            let (members, draining) = (Arc::clone(&members), host.draining.clone());
            // A scheduler that drains receives no reports, and keeps its workers.
            async move {
                draining.run_until_cancelled(members.expire_silent()).await;
            }
        });
        let (problem, seen_problem) = watch::channel(String::new());
        let measurements = Measurements::new(&config, Arc::clone(&members), metrics.clone(), problem)?;
        if let Some(measurements) = measurements {
            tasks.spawn(measurements.run());
        }
        let dispatcher =
            Dispatcher::new(Arc::clone(&members), metrics.clone(), config.decisions_kept, config.random_seed);

        let running = TaskTracker::new();
        let invocations = InvocationsHandler {
            catalog: Arc::clone(&catalog),
            revisions: Arc::clone(&revisions),
            dispatcher: dispatcher.clone(),
            delivery: Delivery::new(host.dialer.dial(&config.sink)?),
            permits: FairLimit::new(config.server.max_concurrent, config.max_percent_per_module),
            max_duration: Duration::from_millis(config.max_invocation_ms),
            running: running.clone(),
            metrics,
        };
        let logs = LogsHandler::new(
            Arc::clone(&members),
            Arc::clone(&catalog),
            Arc::clone(&revisions),
            host.draining.clone(),
        );
        let membership =
            MembershipHandler::new(Arc::clone(&members), running, tasks.clone(), host.draining.clone());
        let policies = PoliciesHandler::new(
            Arc::clone(&members),
            Arc::clone(&catalog),
            Arc::clone(&revisions),
            dispatcher,
        );
        let cluster = ClusterHandler::new(members, catalog, revisions, seen_problem);
        let services = services(Arc::new(invocations), policies, logs, cluster, membership);
        let (router, methods) =
            services.build_with_methods(&config.server, &host.metrics, &readiness, &tasks);
        Ok(Service { name: "scheduler", router, methods: Some(methods), more: Vec::new(), tasks, readiness })
    }
}

fn services(
    invocations: Arc<InvocationsHandler>,
    policies: PoliciesHandler,
    logs: LogsHandler,
    cluster: ClusterHandler,
    membership: MembershipHandler,
) -> Grpc {
    let direct = Arc::clone(&invocations);
    Grpc::default()
        .method::<Invoke, _>(move |request| {
            let invocations = Arc::clone(&direct);
            async move { Invocations::invoke(&*invocations, request).await }
        })
        .service(
            InvocationsServer::from_arc(invocations)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
        .service(
            PoliciesServer::new(policies)
                .max_decoding_message_size(MAX_MESSAGE_BYTES)
                .max_encoding_message_size(MAX_MESSAGE_BYTES),
        )
        .service(LogsServer::new(logs).max_encoding_message_size(MAX_MESSAGE_BYTES))
        .service(ClusterServer::new(cluster))
        .service(MembershipServer::new(membership).max_decoding_message_size(MAX_MESSAGE_BYTES))
}

/// Keeps the catalog up to date, forever.
async fn follow(registry: Channel, following: Condition, catalog: Arc<Catalog>, metrics: Metrics) {
    let take = |update| {
        catalog.apply(update);
        metrics.remove_deleted(&catalog);
    };
    mesh::follow::follow(registry, following, take).await;
}
