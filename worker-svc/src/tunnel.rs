//! The way to a worker that nobody can reach: it opens tunnels to its schedulers, and serves what comes
//! through them as what comes to its port.

use std::time::Duration;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use mesh::listener::serve_one;
use mesh::{Channel, Error, tunnel};
use proto::scheduler::v1::TunnelRequest;
use proto::scheduler::v1::membership_client::MembershipClient;
use proto::scheduler::v1::tunnel_request::Message;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a scheduler may take to accept a tunnel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(5);

/// The tunnels of this worker. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Tunnels {
    router: axum::Router,
    draining: CancellationToken,
    drain_timeout: Duration,
    open: TaskTracker,
}

impl Tunnels {
    /// Tunnels that lead to `router`. When `draining` is cancelled they end with what runs through them, at
    /// the latest after `drain_timeout`.
    pub(crate) fn new(router: axum::Router, draining: CancellationToken, drain_timeout: Duration) -> Self {
        Self { router, draining: draining.child_token(), drain_timeout, open: TaskTracker::new() }
    }

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
        let connection = tunnel::end(answer.into_inner().map_ok(|response| response.data), sending);
        let (router, draining) = (self.router.clone(), self.draining.clone());
        Ok(self.open.spawn(serve_one(connection, router, draining, self.drain_timeout)))
    }

    /// Ends all of them once nothing runs through them.
    pub(crate) async fn drain(&self) {
        self.draining.cancel();
        self.open.close();
        self.open.wait().await;
    }
}
