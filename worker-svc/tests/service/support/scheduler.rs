//! The scheduler's side of the membership, as a real server that can be restarted.

use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use mesh::auth::Secret;
use mesh::channel::Endpoint;
use mesh::config::{Listen, ServerConfig};
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

/// What a scheduler has heard, through all its restarts.
#[derive(Default)]
pub struct Heard {
    pub hellos: Vec<Hello>,
    pub reports: Vec<Report>,
    /// The ways through the tunnels that were opened.
    pub tunnels: Vec<Channel>,
}

/// A scheduler at a Unix socket.
pub struct Scheduler {
    pub heard: Arc<Mutex<Heard>>,
    /// What it shows through tunnels from its next start on.
    pub secret: Option<Secret>,
    path: PathBuf,
    running: Option<(CancellationToken, JoinHandle<()>)>,
}

const REPORT_INTERVAL_MS: u32 = 50;

impl Scheduler {
    pub async fn start(path: PathBuf) -> Self {
        let mut scheduler = Self { heard: Arc::default(), secret: None, path, running: None };
        scheduler.restart().await;
        scheduler
    }

    pub fn endpoint(&self) -> Endpoint {
        Endpoint::Unix(self.path.clone())
    }

    /// Ends it, and waits until its streams have ended.
    pub async fn stop(&mut self) {
        if let Some((stopping, task)) = self.running.take() {
            stopping.cancel();
            task.await.expect("the scheduler does not panic");
        }
    }

    pub async fn restart(&mut self) {
        self.stop().await;
        let stopping = CancellationToken::new();
        let (heard, secret) = (Arc::clone(&self.heard), self.secret.clone());
        let members = Members { heard, secret, stopping: stopping.clone() };
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

    /// The last report so far.
    pub fn last_report(&self) -> Option<Report> {
        self.heard.lock().reports.last().cloned()
    }

    /// Whether any report so far is like this.
    pub fn heard_of(&self, like: impl Fn(&Report) -> bool) -> bool {
        let heard = self.heard.lock();
        let first = heard.hellos.iter().filter_map(|hello| hello.report.as_ref());
        first.chain(&heard.reports).any(like)
    }
}

struct Members {
    heard: Arc<Mutex<Heard>>,
    secret: Option<Secret>,
    stopping: CancellationToken,
}

#[tonic::async_trait]
impl Membership for Members {
    type JoinStream = Pin<Box<dyn Stream<Item = Result<JoinResponse, Status>> + Send>>;

    async fn join(
        &self,
        request: Request<Streaming<JoinRequest>>,
    ) -> Result<Response<Self::JoinStream>, Status> {
        let mut messages = request.into_inner();
        let (heard, stopping) = (Arc::clone(&self.heard), self.stopping.clone());
        Ok(Response::new(Box::pin(async_stream::stream! {
            loop {
                let message = tokio::select! {
                    message = messages.message() => message,
                    () = stopping.cancelled() => return,
                };
                let Ok(Some(JoinRequest { message: Some(message) })) = message else { return };
                match message {
                    Message::Hello(hello) => {
                        heard.lock().hellos.push(hello);
                        yield Ok(JoinResponse { report_interval_ms: REPORT_INTERVAL_MS });
                    }
                    Message::Report(report) => heard.lock().reports.push(report),
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
            panic!("a tunnel begins with the worker's id, not with {first:?}");
        };
        let received = requests.map_ok(|request| match request.message {
            Some(tunnel_request::Message::Data(data)) => data,
            other => panic!("then come data, not {other:?}"),
        });
        let (sending, chunks) = tunnel::sending();
        let dialer = Dialer::new(self.secret.clone(), None);
        let channel = dialer.dial_tunnel(&id, tunnel::end(received, sending)).await?;
        self.heard.lock().tunnels.push(channel);
        let responses = chunks.map(|data| Ok(TunnelResponse { data }));
        Ok(Response::new(responses.take_until(self.stopping.clone().cancelled_owned()).boxed()))
    }
}
