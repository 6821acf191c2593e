//! `funless.scheduler.v1.Cluster`.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mesh::deadline::Deadline;
use proto::scheduler::v1::cluster_server::Cluster;
use proto::scheduler::v1::{
    AwaitCodeRequest, AwaitCodeResponse, CodeFailure, ListWorkersRequest, ListWorkersResponse, WorkerState,
};
use tonic::{Request, Response, Status};

use crate::membership::Members;

/// How long to wait for workers when the caller sets no deadline.
const AWAIT_CODE: Duration = Duration::from_secs(60);
/// What is left of the deadline for the answer itself.
const TIME_TO_ANSWER: Duration = Duration::from_millis(100);

/// The scheduler's view of the workers.
#[derive(Debug)]
pub struct ClusterHandler {
    members: Arc<Members>,
}

impl ClusterHandler {
    /// A view of `members`.
    pub fn new(members: Arc<Members>) -> Self {
        Self { members }
    }
}

#[tonic::async_trait]
impl Cluster for ClusterHandler {
    async fn list_workers(
        &self,
        _: Request<ListWorkersRequest>,
    ) -> Result<Response<ListWorkersResponse>, Status> {
        let cluster = self.members.cluster();
        let workers = cluster.workers().map(|worker| WorkerState {
            identity: Some(worker.identity.clone()),
            load: Some(worker.load),
            in_flight: worker.in_flight,
            last_report_ms: unix_ms(SystemTime::now().checked_sub(worker.last_report.elapsed())),
        });
        let workers = workers.collect();
        Ok(Response::new(ListWorkersResponse { workers }))
    }

    async fn await_code(
        &self,
        request: Request<AwaitCodeRequest>,
    ) -> Result<Response<AwaitCodeResponse>, Status> {
        let wait = Deadline::of_at_most(&request, AWAIT_CODE).remaining().saturating_sub(TIME_TO_ANSWER);
        let code = request.into_inner().hash;
        let waited = tokio::time::timeout(wait, self.members.await_code(&code)).await;
        let (ready, failed) = waited.unwrap_or_else(|_| {
            let (ready, mut failed, waiting) = self.members.code_states(&code);
            let late = |worker| CodeFailure { worker, message: "not prepared in time".to_owned() };
            failed.extend(waiting.into_iter().map(late));
            (ready, failed)
        });
        Ok(Response::new(AwaitCodeResponse { ready, failed }))
    }
}

fn unix_ms(time: Option<SystemTime>) -> i64 {
    let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
