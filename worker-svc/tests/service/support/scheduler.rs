//! A server in place of a scheduler, which can be restarted.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use mesh::auth::Secret;
use mesh::config::{Listen, ServerConfig};
use mesh::endpoint::Endpoint;
use mesh::health::Readiness;
use mesh::listener::Listener;
use mesh::server::Grpc;
use mesh::shutdown::Tasks;
use mesh::{Channel, Dialer, tunnel};
use parking_lot::Mutex;
use proto::scheduler::v1::join_request::Message;
use proto::scheduler::v1::membership_server::{Membership, MembershipServer};
use proto::scheduler::v1::{
    Hello, JoinRequest, JoinResponse, Report, TunnelRequest, TunnelResponse, tunnel_request,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

/// What a scheduler has received, through all its restarts.
#[derive(Default)]
pub struct Received {
    pub hellos: Vec<Hello>,
    pub reports: Vec<Report>,
    /// Channels through the tunnels that were opened.
    pub tunnels: Vec<Channel>,
}

/// A scheduler at a Unix socket.
pub struct Scheduler {
    pub received: Arc<Mutex<Received>>,
    /// The secret that it uses in tunnels, from its next start on.
    pub secret: Option<Secret>,
    path: PathBuf,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

const REPORT_INTERVAL_MS: u32 = 50;

impl Scheduler {
    pub async fn start(path: PathBuf) -> Self {
        let mut scheduler = Self { received: Arc::default(), secret: None, path, running: None };
        scheduler.restart().await;
        scheduler
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    /// Stops it, and waits until its streams have ended.
    pub async fn stop(&mut self) {
        if let Some((stopping, task)) = self.running.take() {
            stopping.cancel();
            task.await.expect("the scheduler does not panic");
        }
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        let stopping = CancellationToken::new();
        let (received, secret) = (Arc::clone(&self.received), self.secret.clone());
        let members = MembershipService { received, secret, stopping: stopping.clone() };
        let router = Grpc::default().service(MembershipServer::new(members)).build(
            &ServerConfig::default(),
            &prometheus::Registry::new(),
            &Readiness::default(),
            &Tasks::default(),
        );
        let listener = Listener::bind(&Listen::Unix(self.path.clone())).await.expect("binds");
        let task = tokio::spawn(listener.serve(router, stopping.clone(), Duration::from_secs(5)));
        self.running = Some((stopping, task));
    }

    /// The latest report.
    pub fn last_report(&self) -> Option<Report> {
        self.received.lock().reports.last().cloned()
    }

    /// Whether any report so far matches `like`.
    pub fn has_received(&self, like: impl Fn(&Report) -> bool) -> bool {
        let received = self.received.lock();
        let first = received.hellos.iter().filter_map(|hello| hello.report.as_ref());
        first.chain(&received.reports).any(like)
    }
}

struct MembershipService {
    received: Arc<Mutex<Received>>,
    secret: Option<Secret>,
    stopping: CancellationToken,
}

#[tonic::async_trait]
impl Membership for MembershipService {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<JoinResponse, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let mut messages = request.into_inner();
        let (received, stopping) = (Arc::clone(&self.received), self.stopping.clone());
        Ok(Response::new(Box::pin(async_stream::stream! {
            loop {
                let message = tokio::select! {
                    message = messages.message() => message,
                    () = stopping.cancelled() => return,
                };
                let Ok(Some(JoinRequest { message: Some(message) })) = message else { return };
                match message {
                    Message::Hello(hello) => {
                        received.lock().hellos.push(hello);
                        yield Ok(JoinResponse { report_interval_ms: REPORT_INTERVAL_MS });
                    }
                    Message::Report(report) => received.lock().reports.push(report),
                }
            }
        })))
    }

    type TunnelStream = Pin<Box<dyn Stream<Item = Result<TunnelResponse, Status>> + Send>>;

    async fn tunnel(
        &self,
        request: Request<Streaming<TunnelRequest>>,
    ) -> Result<Response<Self::TunnelStream>, Status> {
        let mut requests = request.into_inner();
        let first = requests.message().await?.and_then(|request| request.message);
        let Some(tunnel_request::Message::WorkerId(id)) = first else {
            panic!("expected the worker's id first, not {first:?}");
        };
        let received = requests.map_ok(|request| match request.message {
            Some(tunnel_request::Message::Data(data)) => data,
            other => panic!("expected data, not {other:?}"),
        });
        let (sending, chunks) = tunnel::sending();
        let dialer = Dialer::new(self.secret.clone(), None);
        let channel = dialer.dial_tunnel(&id, tunnel::end(received, sending)).await?;
        self.received.lock().tunnels.push(channel);
        let responses = chunks.map(|data| Ok(TunnelResponse { data }));
        Ok(Response::new(responses.take_until(self.stopping.clone().cancelled_owned()).boxed()))
    }
}
