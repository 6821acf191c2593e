//! `funless.scheduler.v1.Logs`.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{BoxStream, StreamExt as _};
use mesh::deadline::Deadline;
use mesh::{Caller, Error, Reason};
use proto::log::v1::{TailLogsRequest, TailLogsResponse};
use proto::scheduler::v1::logs_server::Logs;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::catalog::Catalog;
use crate::logs::{Tail, follow};
use crate::membership::Members;
use crate::revisions::{Revisions, wait_deadline};

/// How long workers may take to send the lines that they remember.
const BACKLOG_TIMEOUT: Duration = Duration::from_secs(5);

/// Reads the logs of functions.
#[derive(Debug)]
pub struct LogsHandler {
    members: Arc<Members>,
    catalog: Arc<Catalog>,
    revisions: Arc<Revisions>,
    draining: CancellationToken,
}

impl LogsHandler {
    /// Reads the logs of the functions in `catalog` from `members`, until `draining`.
    pub fn new(
        members: Arc<Members>,
        catalog: Arc<Catalog>,
        revisions: Arc<Revisions>,
        draining: CancellationToken,
    ) -> Self {
        Self { members, catalog, revisions, draining }
    }
}

#[tonic::async_trait]
impl Logs for LogsHandler {
    type TailLogsStream = BoxStream<'static, Result<TailLogsResponse, Status>>;

    async fn tail_logs(
        &self,
        request: Request<TailLogsRequest>,
    ) -> Result<Response<Self::TailLogsStream>, Status> {
        let caller = Caller::of(&request);
        let (wait, callers) = (wait_deadline(&request), Deadline::of(&request));
        let mut wanted = request.into_inner();
        let TailLogsRequest { module, function, function_id, min_revision, .. } = &wanted;
        self.revisions.wait_for(*min_revision, wait).await.map_err(Error::from)?;
        let function = self.catalog.find(&caller, function_id, module, function);
        let function = function.map_err(Error::from)?;
        if !caller.may_change_function(&function.owner, &function.creator) {
            let message =
                "only its creator and administrators may read the logs of a function of a shared module";
            return Err(Error::new(Reason::PermissionDenied, message).into());
        }
        // Another function may get the name.
        wanted.function_id.clone_from(&function.id);
        let follows = wanted.follow;
        let mut tail = Tail::new(Arc::clone(&self.members), wanted);
        let own = Deadline::after(BACKLOG_TIMEOUT);
        let first = tail.backlog(callers.map_or(own, |callers| callers.min(own))).await;
        let first = futures::stream::iter([Ok(first)]);
        if !follows {
            return Ok(Response::new(first.boxed()));
        }
        let (catalog, draining) = (Arc::clone(&self.catalog), self.draining.clone());
        let end = async move {
            tokio::select! {
                () = catalog.wait_until_deleted(&function.id) => {}
                () = draining.cancelled() => {}
            }
        };
        let lines = first.chain(follow(tail).map(Ok));
        Ok(Response::new(lines.take_until(Box::pin(end)).boxed()))
    }
}
