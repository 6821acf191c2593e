//! The way to a worker that nobody can reach: it opens tunnels to its schedulers, and serves what comes
//! through them as what comes to its port.

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
    /// What they lead to.
    pub(crate) router: axum::Router,
    /// When this is cancelled they end with what runs through them.
    pub(crate) draining: CancellationToken,
    /// At the latest after so long.
    pub(crate) drain_timeout: Duration,
    pub(crate) tasks: Tasks,
}

impl Tunnels {
    /// Opens one to a scheduler. What is given ends with it. The scheduler ends it when it uses it no more:
    /// when it has another one from this worker, or when it stops.
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
        let answer = answer.map_err(|_| Error::unavailable("the scheduler accepts no tunnel in time"))??;
        let received = answer.into_inner().map_ok(|response| response.data);
        let (router, draining) = (self.router.clone(), self.draining.clone());
        let serving = tunnel::serve(received, sending, router, draining, self.drain_timeout);
        Ok(self.tasks.spawn_connection(serving))
    }
}
