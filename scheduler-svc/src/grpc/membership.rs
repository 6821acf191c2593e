//! `funless.scheduler.v1.Membership`.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use mesh::shutdown::Tasks;
use mesh::{Caller, Error, Reason, tunnel};
use proto::scheduler::v1::join_request::Message;
use proto::scheduler::v1::membership_server::Membership;
use proto::scheduler::v1::{JoinRequest, JoinResponse, TunnelRequest, TunnelResponse, tunnel_request};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tonic::{Request, Response, Status, Streaming};

use crate::membership::{Members, Session};

/// The longest worker id that may open a tunnel.
const MAX_ID_BYTES: usize = 128;
/// How long requests may still arrive after callers could learn that this scheduler drains.
const DRAIN_GRACE: Duration = Duration::from_millis(500);

/// Serves the workers that join.
#[derive(Debug)]
pub struct MembershipHandler {
    members: Arc<Members>,
    invocations: TaskTracker,
    tasks: Tasks,
    draining: CancellationToken,
}

impl MembershipHandler {
    /// Adds workers to `members` until `draining` is cancelled. Tunnels stay open while there are
    /// `invocations`.
    pub fn new(
        members: Arc<Members>,
        invocations: TaskTracker,
        tasks: Tasks,
        draining: CancellationToken,
    ) -> Self {
        Self { members, invocations, tasks, draining }
    }

    /// Ends when this scheduler drains and has no invocations left.
    fn needs_no_worker(&self) -> impl Future<Output = ()> + Send + use<> {
        let (draining, invocations) = (self.draining.clone(), self.invocations.clone());
        async move {
            draining.cancelled().await;
            tokio::time::sleep(DRAIN_GRACE).await;
            invocations.close();
            invocations.wait().await;
        }
    }
}

#[tonic::async_trait]
impl Membership for MembershipHandler {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<JoinResponse, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        Caller::of(&request).only_services()?;
        let mut requests = request.into_inner();
        let Some(Message::Hello(hello)) = requests.message().await?.and_then(|request| request.message)
        else {
            return Err(Error::new(Reason::BadRequest, "expected a hello as the first message").into());
        };
        let session = self.members.join(hello)?;
        let worker =
            JoinedWorker { session, members: Arc::clone(&self.members), draining: self.draining.clone() };
        let interval = self.members.report_interval().as_millis();
        let (responses, stream) = mpsc::channel(1);
        let welcome = JoinResponse { report_interval_ms: u32::try_from(interval).unwrap_or(u32::MAX) };
        let _ = responses.send(Ok(welcome)).await;

        // The worker's stream stays open as long as the sender of its responses lives.
        let draining = self.draining.clone();
        self.tasks.spawn(async move {
            tokio::select! {
                () = worker.listen(requests) => {}
                () = draining.cancelled() => {}
                () = responses.closed() => {}
            }
            drop(worker);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(stream))))
    }

    type TunnelStream = Pin<Box<dyn Stream<Item = Result<TunnelResponse, Status>> + Send>>;

    async fn tunnel(
        &self,
        request: Request<Streaming<TunnelRequest>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        use tunnel_request::Message;

        Caller::of(&request).only_services()?;
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|request| request.message);
        let Some(Message::WorkerId(worker_id)) = first else {
            return Err(
                Error::new(Reason::BadRequest, "expected the worker's id as the first message").into()
            );
        };
        if !(1..=MAX_ID_BYTES).contains(&worker_id.len()) {
            let expected = format!("worker_id: expected 1 to {MAX_ID_BYTES} bytes");
            return Err(Error::new(Reason::BadRequest, expected).into());
        }
        let received = requests.map(|request| match request?.message {
            Some(Message::Data(data)) => Ok(data),
            _ => Err(Status::invalid_argument("expected data after the first message")),
        });
        let (sending, chunks) = tunnel::sending();
        let open = self.members.open_tunnel(worker_id, tunnel::end(received, sending)).await?;
        let responses = chunks.take_until(self.needs_no_worker()).map(move |data| {
            let _held = &open;
            Ok(TunnelResponse { data })
        });
        Ok(Response::new(responses.boxed()))
    }
}

/// A worker that has joined. It leaves when this is dropped, unless the scheduler drains: then it keeps its
/// workers for the invocations that are left.
struct JoinedWorker {
    session: Session,
    members: Arc<Members>,
    draining: CancellationToken,
}

impl JoinedWorker {
    async fn listen(&self, mut requests: Streaming<JoinRequest>) {
        loop {
            match requests.message().await {
                Ok(Some(JoinRequest { message: Some(Message::Report(report)) })) => {
                    if !self.members.report(&self.session, report) {
                        return;
                    }
                }
                Ok(Some(_)) => tracing::warn!("ignored a message of a worker that is not a report"),
                Ok(None) | Err(_) => return,
            }
        }
    }
}

impl Drop for JoinedWorker {
    fn drop(&mut self) {
        if !self.draining.is_cancelled() {
            self.members.leave(&self.session);
        }
    }
}
