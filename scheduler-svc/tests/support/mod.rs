//! A scheduler under test, with a fake registry, fake workers and a fake sink service.

mod logs;
mod registry;

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use mesh::config::ServerConfig;
use mesh::endpoint::Endpoint;
use mesh::health::Readiness;
use mesh::receipt::{self, Receipt};
use mesh::server::Grpc;
use mesh::shutdown::Tasks;
use mesh::testing::{Served, eventually};
use mesh::{Channel, Error, Host, MAX_MESSAGE_BYTES, Reason, tunnel};
use parking_lot::Mutex;
use proto::registry::v1::{Code, CodeKind, Function, Metadata};
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::join_request::Message;
use proto::scheduler::v1::membership_client::MembershipClient;
use proto::scheduler::v1::{
    Hello, InvokeRequest, InvokeResponse, JoinRequest, ListWorkersRequest, Report, TunnelRequest,
    WorkerIdentity, WorkerLoad, tunnel_request,
};
use proto::sink::v1::delivery_server::{Delivery, DeliveryServer};
use proto::sink::v1::{DeliverRequest, DeliverResponse};
use proto::worker::v1::execute_response::Outcome;
use proto::worker::v1::execution_server::{Execution, ExecutionServer};
use proto::worker::v1::logs_server::LogsServer;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use scheduler_svc::{App, Config};
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

pub use logs::FakeLogs;
pub use registry::FakeRegistry;

/// How a fake worker executes functions.
#[derive(Clone, Copy)]
pub enum Behaviour {
    /// Answers `"NAME"`, the worker's name.
    Answer,
    /// Refuses as overloaded.
    Overloaded,
    /// Answers after [`FakeWorker::let_go`].
    Hold,
    /// Never answers.
    Hang,
    /// Fails as a trap does.
    Trap,
    /// Has lost the first code; answers others.
    Forgot,
}

/// A worker with a scripted execution.
pub struct FakeWorker {
    pub name: String,
    executor: Executor,
    /// Where to send reports. Dropped to leave.
    reports: Option<mpsc::Sender<JoinRequest>>,
    served: Option<Served>,
    tunnel: Option<FakeTunnel>,
}

/// The tunnel of a worker behind NAT.
pub struct FakeTunnel {
    pub draining: CancellationToken,
    pub serving: JoinHandle<()>,
}

#[derive(Clone)]
struct Executor {
    name: String,
    behaviour: Arc<Mutex<Behaviour>>,
    received: Arc<Mutex<Vec<ExecuteRequest>>>,
    running: Arc<watch::Sender<usize>>,
    /// The most invocations that ever ran at once.
    most: Arc<AtomicUsize>,
    /// A permit for each held invocation that may end.
    let_go: Arc<Semaphore>,
    logs: FakeLogs,
    /// The receipt of each run.
    receipt: Arc<Mutex<Receipt>>,
}

struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

#[tonic::async_trait]
impl Execution for Executor {
    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        let request = request.into_inner();
        let is_first_code = request.code.as_ref().is_some_and(|code| code.hash == HASH[..]);
        self.received.lock().push(request);
        self.running.send_modify(|running| {
            *running += 1;
            self.most.fetch_max(*running, Ordering::Relaxed);
        });
        let _running = Running(Arc::clone(&self.running));
        let behaviour = *self.behaviour.lock();
        if matches!(behaviour, Behaviour::Hold) {
            self.let_go.acquire().await.expect("it stays open").forget();
        }
        match behaviour {
            Behaviour::Forgot if is_first_code => {
                Err(Error::new(Reason::CodeNotFound, "no such code").into())
            }
            Behaviour::Answer | Behaviour::Hold | Behaviour::Forgot => {
                let result = Bytes::from(format!("{:?}", self.name));
                let mut response = Response::new(ExecuteResponse { outcome: Some(Outcome::Result(result)) });
                receipt::attach(&mut response, &self.receipt.lock());
                Ok(response)
            }
            Behaviour::Overloaded => Err(Error::overloaded("full", Duration::from_secs(1)).into()),
            Behaviour::Hang => std::future::pending().await,
            Behaviour::Trap => {
                let mut status = Status::from(Error::new(Reason::GuestTrapped, "unreachable"));
                receipt::attach_to_failure(&mut status, &self.receipt.lock());
                Err(status)
            }
        }
    }
}

impl FakeWorker {
    pub fn behave(&self, behaviour: Behaviour) {
        *self.executor.behaviour.lock() = behaviour;
    }

    /// Sets the receipt of each run.
    pub fn spends(&self, receipt: Receipt) {
        *self.executor.receipt.lock() = receipt;
    }

    pub fn logs(&self) -> &FakeLogs {
        &self.executor.logs
    }

    pub fn received(&self) -> Vec<ExecuteRequest> {
        self.executor.received.lock().clone()
    }

    pub fn running(&self) -> usize {
        *self.executor.running.borrow()
    }

    /// The most invocations that ever ran at once.
    pub fn most_at_once(&self) -> usize {
        self.executor.most.load(Ordering::Relaxed)
    }

    /// Ends so many held invocations, now or when they come.
    pub fn let_go(&self, count: usize) {
        self.executor.let_go.add_permits(count);
    }

    pub async fn report(&self, report: Report) {
        let message = JoinRequest { message: Some(Message::Report(report)) };
        self.reports.as_ref().expect("it has joined").send(message).await.expect("the scheduler listens");
    }

    /// Closes its stream, as if it had died.
    pub fn leave(&mut self) {
        self.reports = None;
    }

    /// Waits until the scheduler has ended its session.
    pub async fn is_out(&self) {
        self.reports.as_ref().expect("it had joined").closed().await;
    }

    /// Closes its connections while its session goes on.
    pub fn stop_serving(&mut self) {
        if let Some(served) = self.served.take() {
            served.kill();
        }
        if let Some(tunnel) = self.tunnel.take() {
            tunnel.serving.abort();
        }
    }

    /// Its tunnel.
    pub fn tunnel(&mut self) -> &mut FakeTunnel {
        self.tunnel.as_mut().expect("it has a tunnel")
    }
}

impl Executor {
    fn new(name: &str) -> Self {
        Self {
            name: name.into(),
            behaviour: Arc::new(Mutex::new(Behaviour::Answer)),
            received: Arc::default(),
            running: Arc::new(watch::Sender::new(0)),
            most: Arc::default(),
            let_go: Arc::new(Semaphore::new(0)),
            logs: FakeLogs::default(),
            receipt: Arc::default(),
        }
    }

    /// A router with the mesh's server stack, which sends trailers.
    fn router(&self) -> axum::Router {
        let readiness = Readiness::default();
        let _ = readiness.serving();
        Grpc::default()
            .service(ExecutionServer::new(self.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES))
            .service(LogsServer::new(self.logs.clone()))
            .build(&ServerConfig::default(), &prometheus::Registry::new(), &readiness, &Tasks::default())
    }
}

/// A sink service that takes results, or refuses them as scripted.
#[derive(Clone, Default)]
pub struct FakeSink {
    refuses: Arc<Mutex<VecDeque<Error>>>,
    taken: Arc<Mutex<Vec<DeliverRequest>>>,
}

impl FakeSink {
    /// Refuses the next result with this error.
    pub fn refuse(&self, error: Error) {
        self.refuses.lock().push_back(error);
    }

    pub fn taken(&self) -> Vec<DeliverRequest> {
        self.taken.lock().clone()
    }
}

#[tonic::async_trait]
impl Delivery for FakeSink {
    async fn deliver(&self, request: Request<DeliverRequest>) -> Result<Response<DeliverResponse>, Status> {
        if let Some(error) = self.refuses.lock().pop_front() {
            return Err(error.into());
        }
        self.taken.lock().push(request.into_inner());
        Ok(Response::new(DeliverResponse {}))
    }
}

/// A configuration with a long report interval, since fake workers report only when a test says so, and without a time
/// for workers to join in.
pub fn patient() -> Config {
    Config { report_interval_ms: 60_000, join_grace_ms: 0, ..Config::default() }
}

/// A scheduler with a fake registry. The sink service is not started.
pub struct Stage {
    pub registry: FakeRegistry,
    pub channel: Channel,
    pub readiness: Readiness,
    host: Host,
}

impl Stage {
    pub async fn start() -> Self {
        Self::start_with(patient()).await
    }

    pub async fn start_with(config: Config) -> Self {
        Self::start_in(config, FakeRegistry::new()).await
    }

    pub async fn start_with_registry(adjust: impl FnOnce(&FakeRegistry)) -> Self {
        let registry = FakeRegistry::new();
        adjust(&registry);
        Self::start_in(patient(), registry).await
    }

    async fn start_in(config: Config, registry: FakeRegistry) -> Self {
        let host = mesh::testing::host("scheduler");
        host.dialer.provide("registry", registry.router());
        let config = Config {
            registry: Endpoint::Local("registry".into()),
            sink: Endpoint::Local("sink".into()),
            ..config
        };
        let service = App::start(config, host.clone()).await.expect("starts");
        let channel = mesh::testing::serve_local(&host, &service);
        Self { registry, channel, readiness: service.readiness, host }
    }

    /// Starts the sink service.
    pub fn start_sink(&self) -> FakeSink {
        let sink = FakeSink::default();
        let router = tonic::service::Routes::new(DeliveryServer::new(sink.clone())).into_axum_router();
        self.host.dialer.provide("sink", router);
        sink
    }

    /// Joins a worker with this much memory.
    pub async fn worker(&self, name: &str, available_kb: u64) -> FakeWorker {
        let executor = Executor::new(name);
        let served = Served::start(executor.router()).await;
        let reports = self.join(name, &served.endpoint.to_string(), available_kb).await.expect("joined");
        FakeWorker { name: name.into(), executor, reports: Some(reports), served: Some(served), tunnel: None }
    }

    /// Joins a worker behind NAT, through a tunnel.
    pub async fn hidden_worker(&self, name: &str, available_kb: u64) -> FakeWorker {
        let executor = Executor::new(name);
        let tunnel = self.open_tunnel(name, &executor).await;
        let reports = self.join(name, "", available_kb).await.expect("joined");
        FakeWorker { name: name.into(), executor, reports: Some(reports), served: None, tunnel: Some(tunnel) }
    }

    /// Opens the tunnel of a worker again.
    pub async fn reopen_tunnel(&self, worker: &mut FakeWorker) {
        worker.tunnel = Some(self.open_tunnel(&worker.name, &worker.executor).await);
    }

    async fn open_tunnel(&self, id: &str, executor: &Executor) -> FakeTunnel {
        let (sending, chunks) = tunnel::sending();
        let id = tokio_stream::once(tunnel_request::Message::WorkerId(id.into()));
        let messages = id.chain(chunks.map(tunnel_request::Message::Data));
        let requests = messages.map(|message| TunnelRequest { message: Some(message) });
        let answer = MembershipClient::new(self.channel.clone()).tunnel(requests).await;
        let received = answer.expect("accepted").into_inner().map_ok(|response| response.data);
        let (draining, limit) = (CancellationToken::new(), Duration::from_secs(5));
        let router = executor.router();
        let serving = tokio::spawn(tunnel::serve(received, sending, router, draining.clone(), limit));
        FakeTunnel { draining, serving }
    }

    /// Joins the cluster. Gives where to send reports.
    pub async fn join(
        &self,
        name: &str,
        address: &str,
        available_kb: u64,
    ) -> Result<mpsc::Sender<JoinRequest>, Error> {
        let (reports, stream) = mpsc::channel(8);
        let identity = WorkerIdentity {
            id: name.into(),
            name: name.into(),
            address: address.into(),
            ..WorkerIdentity::default()
        };
        let hello = Hello { identity: Some(identity), report: Some(memory(available_kb)) };
        reports.send(JoinRequest { message: Some(Message::Hello(hello)) }).await.expect("room");
        let response = MembershipClient::new(self.channel.clone()).join(ReceiverStream::new(stream)).await;
        let mut responses = response?.into_inner();
        let welcome = responses.message().await.expect("a welcome").expect("a welcome");
        assert!(welcome.report_interval_ms > 0);
        // The stream of responses has to stay open.
        tokio::spawn(async move { while let Ok(Some(_)) = responses.message().await {} });
        Ok(reports)
    }

    /// Drains the scheduler.
    pub fn drain(&self) {
        self.host.draining.cancel();
    }

    pub async fn invoke(&self, request: InvokeRequest) -> Result<InvokeResponse, Error> {
        let mut client =
            InvocationsClient::new(self.channel.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES);
        Ok(client.invoke(request).await?.into_inner())
    }

    /// The sum of a metric's samples.
    pub fn metric(&self, name: &str) -> f64 {
        let families = self.host.metrics.gather();
        let family = families.iter().find(|family| family.name() == name);
        let samples = family.map_or(&[][..], |family| family.get_metric());
        samples.iter().map(|sample| sample.get_gauge().get_value() + sample.get_counter().get_value()).sum()
    }

    pub async fn worker_names(&self) -> Vec<String> {
        let response = ClusterClient::new(self.channel.clone()).list_workers(ListWorkersRequest {}).await;
        let workers = response.expect("listed").into_inner().workers;
        workers.into_iter().map(|worker| worker.identity.expect("has one").name).collect()
    }

    pub async fn wait_for_workers(&self, names: &[&str]) {
        eventually(&format!("the workers are {names:?}"), || async { self.worker_names().await == names })
            .await;
    }
}

pub fn memory(available_kb: u64) -> Report {
    let load =
        WorkerLoad { memory_total: 1 << 30, memory_available: available_kb << 10, ..WorkerLoad::default() };
    Report { load: Some(load), ..Report::default() }
}

pub const HASH: &[u8; 32] = &[7; 32];

pub fn function(name: &str) -> Function {
    Function {
        id: format!("id-of-{name}"),
        module: "_".into(),
        name: name.into(),
        code: Some(Code { hash: Bytes::from_static(HASH), size: 1, kind: CodeKind::Funless.into() }),
        metadata: Some(Metadata { capacity_kb: 64, ..Metadata::default() }),
        ..Function::default()
    }
}

pub fn invocation_of(name: &str, min_revision: u64) -> InvokeRequest {
    InvokeRequest { module: "_".into(), function: name.into(), min_revision, ..InvokeRequest::default() }
}
