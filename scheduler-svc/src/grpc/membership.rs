//! `funless.scheduler.v1.Membership`.

use std::pin::Pin;
use std::sync::Arc;

use futures::Stream;
use mesh::shutdown::Tasks;
use mesh::{Error, Reason};
use proto::scheduler::v1::join_request::Message;
use proto::scheduler::v1::membership_server::Membership;
use proto::scheduler::v1::{JoinRequest, JoinResponse, TunnelRequest, TunnelResponse};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use crate::membership::{Members, Stay};

/// Lets workers in.
#[derive(Debug)]
pub struct MembershipHandler {
    members: Arc<Members>,
    tasks: Tasks,
    draining: CancellationToken,
}

impl MembershipHandler {
    /// Lets workers into `members` until `draining` is cancelled.
    pub fn new(members: Arc<Members>, tasks: Tasks, draining: CancellationToken) -> Self {
        Self { members, tasks, draining }
    }
}

#[tonic::async_trait]
impl Membership for MembershipHandler {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<JoinResponse, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let mut requests = request.into_inner();
        let Some(Message::Hello(hello)) = requests.message().await?.and_then(|request| request.message)
        else {
            return Err(Error::new(Reason::BadRequest, "expected a hello as the first message").into());
        };
        let stay = self.members.join(hello)?;
        let guest = Guest { stay, members: Arc::clone(&self.members), draining: self.draining.clone() };
        let interval = self.members.report_interval().as_millis();
        let (responses, stream) = mpsc::channel(1);
        let welcome = JoinResponse { report_interval_ms: u32::try_from(interval).unwrap_or(u32::MAX) };
        let _ = responses.send(Ok(welcome)).await;

        // The worker's stream stays open as long as the sender of its responses lives.
        let draining = self.draining.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = guest.listen(requests) => {}
                () = draining.cancelled() => {}
                () = responses.closed() => {}
            }
            drop(guest);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    type TunnelStream = Pin<Box<dyn Stream<Item = Result<TunnelResponse, Status>> + Send>>;

    async fn tunnel(
        &self,
        _request: Request<Streaming<TunnelRequest>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        Err(Status::unimplemented("not yet"))
    }
}

/// A worker that is in; out when this is dropped. A scheduler that drains keeps its workers for the
/// invocations that it still has.
struct Guest {
    stay: Stay,
    members: Arc<Members>,
    draining: CancellationToken,
}

impl Guest {
    async fn listen(&self, mut requests: Streaming<JoinRequest>) {
        loop {
            match requests.message().await {
                Ok(Some(JoinRequest { message: Some(Message::Report(report)) })) => {
                    if !self.members.report(&self.stay, report) {
                        return;
                    }
                }
                Ok(Some(_)) => tracing::warn!("a worker sent what is no report; ignored"),
                Ok(None) | Err(_) => return,
            }
        }
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !self.draining.is_cancelled() {
            self.members.leave(&self.stay);
        }
    }
}
