//! `funless.scheduler.v1.Cluster`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh::Error;
use mesh::deadline::Deadline;
use proto::scheduler::v1::cluster_server::Cluster;
use proto::scheduler::v1::{
    AwaitCodeRequest, AwaitCodeResponse, CodeFailure, ListWorkersRequest, ListWorkersResponse, MetricsSource,
    WorkerState,
};
use tokio::sync::watch;
use tonic::{Request, Response, Status};

use crate::catalog::Catalog;
use crate::cluster::Member;
use crate::membership::{Contact, Members};
use crate::policy::Worker;
use crate::revisions::Revisions;

/// How long to wait for workers when the caller sets no deadline.
const AWAIT_CODE: Duration = Duration::from_secs(60);
/// How long before the deadline to answer.
const TIME_TO_ANSWER: Duration = Duration::from_millis(100);

/// The scheduler's view of the workers.
#[derive(Debug)]
pub struct ClusterHandler {
    members: Arc<Members>,
    catalog: Arc<Catalog>,
    revisions: Arc<Revisions>,
    metrics_problem: watch::Receiver<String>,
}

impl ClusterHandler {
    /// A view of `members`, of the code that functions in `catalog` use, and of what is wrong with the
    /// measurements.
    pub fn new(
        members: Arc<Members>,
        catalog: Arc<Catalog>,
        revisions: Arc<Revisions>,
        metrics_problem: watch::Receiver<String>,
    ) -> Self {
        Self { members, catalog, revisions, metrics_problem }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterHandler {
    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let workers = self.members.cluster().members().map(state_of).collect();
        let metrics_problem = self.metrics_problem.borrow().clone();
        Ok(Response::new(ListWorkersResponse { workers, metrics_problem }))
    }

    async fn await_code(
        &self,
        request: Request<AwaitCodeRequest>,
    ) -> Result<Response<AwaitCodeResponse>, Status> {
        let wait = Deadline::of_at_most(&request, AWAIT_CODE).remaining().saturating_sub(TIME_TO_ANSWER);
        let deadline = Deadline::after(wait);
        let AwaitCodeRequest { hash: code, min_revision } = request.into_inner();
        self.revisions.wait_for(min_revision, deadline).await.map_err(Error::from)?;
        let superseded = async {
            self.catalog.wait_until_unused(&code).await;
            // Workers no longer prepare it, so those without it have not failed.
            let (ready, failed, _) = self.members.code_states(&code);
            (ready, failed)
        };
        let settled = async {
            tokio::select! {
                settled = self.members.await_code(&code) => settled,
                settled = superseded => settled,
            }
        };
        let settled = tokio::time::timeout_at(deadline.instant(), settled).await;
        let (ready, failed) = settled.unwrap_or_else(|_| {
            let (ready, mut failed, waiting) = self.members.code_states(&code);
            let late = |worker| CodeFailure { worker, message: "not prepared in time".to_owned() };
            failed.extend(waiting.into_iter().map(late));
            (ready, failed)
        });
        Ok(Response::new(AwaitCodeResponse { ready, failed }))
    }
}

fn state_of((worker, member): (&Worker, &Member<Contact>)) -> WorkerState {
    let source = match member.measured {
        None => MetricsSource::Reports,
        Some(_) => MetricsSource::Prometheus,
    };
    WorkerState {
        identity: Some(member.identity.clone()),
        load: Some(member.load.clone()),
        in_flight: member.in_flight(),
        last_report_ms: unix_ms(SystemTime::now().checked_sub(member.last_report.elapsed())),
        draining: worker.draining,
        memory_total: worker.memory.map_or(0, |memory| memory.total),
        memory_available: worker.available(),
        cpu_use: member.measurements().cpu_use,
        metrics_source: source.into(),
        running: worker.running,
        running_by_tag: worker.tags.iter().map(|(tag, count)| (tag.to_owned(), count)).collect(),
        code_ready: worker.warm.iter().cloned().collect(),
    }
}

fn unix_ms(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
