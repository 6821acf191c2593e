//! Tunnels of a worker that its schedulers cannot reach: it opens one to each of them, and serves calls
//! through it like those to its port.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use mesh::shutdown::Tasks;
use mesh::{Channel, Error, tunnel};
use proto::scheduler::v1::TunnelRequest;
use proto::scheduler::v1::membership_client::MembershipClient;
use proto::scheduler::v1::tunnel_request::Message;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long a scheduler may take to accept a tunnel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The tunnels of this worker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tunnels {
    /// What serves their calls.
    pub(crate) router: axum::Router,
    /// When this is cancelled, they end after the calls that are running.
    pub(crate) draining: CancellationToken,
    /// When draining, they end after this time at the latest.
    pub(crate) drain_timeout: Duration,
    pub(crate) tasks: Tasks,
}

impl Tunnels {
    /// Opens a tunnel to a scheduler. The returned task ends with it. The scheduler closes it when it gets
    /// another one from this worker, or when it stops.
    pub(crate) async fn open(
        &self,
        scheduler: &mut MembershipClient<Channel>,
        worker_id: &str,
    ) -> Result<JoinHandle<()>, Error> {
        let (sending, chunks) = tunnel::sending();
        let first = stream::iter([Message::WorkerId(worker_id.to_owned())]);
        let messages = first.chain(chunks.map(Message::Data));
        let requests = messages.map(|message| TunnelRequest { message: Some(message) });
        let answer = tokio::time::timeout(OPEN_TIMEOUT, scheduler.tunnel(requests)).await;
        let answer =
            answer.map_err(|_| Error::unavailable("the scheduler did not accept the tunnel in time"))??;
        let received = answer.into_inner().map_ok(|response| response.data);
        let (router, draining) = (self.router.clone(), self.draining.clone());
        let serving = tunnel::serve(received, sending, router, draining, self.drain_timeout);
        Ok(self.tasks.spawn_connection(serving))
    }
}
