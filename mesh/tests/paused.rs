//! Calls to a peer that is paused: its connections stay open, and its kernel accepts bytes, but nothing reads them.

use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh::config::{Listen, ServerConfig};
use mesh::deadline::Deadline;
use mesh::endpoint::Endpoint;
use mesh::health::Readiness;
use mesh::listener::Listener;
use mesh::server::Grpc;
use mesh::shutdown::Tasks;
use mesh::testing::eventually;
use mesh::{Channel, Dialer, Error, Reason};
use parking_lot::Mutex;
use proto::worker::v1::execution_client::ExecutionClient;
use proto::worker::v1::execution_server::{Execution, ExecutionServer};
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tokio::runtime::Handle;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Within this time a call to a paused peer ends. A busy machine may take somewhat more than the 2 s of the promise.
const NOTICE: Duration = Duration::from_millis(2500);

/// Notes the names of the functions that are called. Only `quick` returns.
#[derive(Clone, Default)]
struct Started(Arc<Mutex<Vec<String>>>);

#[tonic::async_trait]
impl Execution for Started {
    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        let ExecuteRequest { function, .. } = request.into_inner();
        self.0.lock().push(function.clone());
        if function != "quick" {
            std::future::pending::<()>().await;
        }
        Ok(Response::new(ExecuteResponse::default()))
    }
}

/// A service on a thread of its own, which can be paused like a process.
struct Peer {
    endpoint: Endpoint,
    started: Started,
    runtime: Handle,
    end: CancellationToken,
    thread: Option<JoinHandle<()>>,
}

/// Dropping it lets the peer continue.
struct Pause(#[expect(dead_code, reason = "dropped")] mpsc::Sender<()>);

impl Peer {
    fn start(listen: &Listen) -> Self {
        let (started, end) = (Started::default(), CancellationToken::new());
        let (service, ended, listen) = (started.clone(), end.clone(), listen.clone());
        let (bound, is_bound) = mpsc::channel();
        let serve = async move {
            let router = Grpc::default().service(ExecutionServer::new(service)).build(
                &ServerConfig::default(),
                &prometheus::Registry::new(),
                &Readiness::default(),
                &Tasks::default(),
            );
            let listener = Listener::bind(&listen).await.expect("a free address");
            let endpoint = listener.endpoint().expect("bound");
            bound.send((endpoint, Handle::current())).expect("the test waits");
            listener.serve(router, ended, Duration::ZERO).await;
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let thread = std::thread::spawn(move || runtime.block_on(serve));
        let (endpoint, runtime) = is_bound.recv().expect("it is bound");
        Self { endpoint, started, runtime, end, thread: Some(thread) }
    }

    fn tcp() -> Self {
        Self::start(&Listen::Tcp(([127, 0, 0, 1], 0).into()))
    }

    fn pause(&self) -> Pause {
        let (resume, resumed) = mpsc::channel::<()>();
        let (began, begins) = mpsc::channel();
        self.runtime.spawn(async move {
            began.send(()).expect("the test waits");
            let _ = resumed.recv();
        });
        begins.recv().expect("it is paused");
        Pause(resume)
    }

    fn channel(&self) -> Channel {
        Dialer::default().dial(&self.endpoint).expect("a channel")
    }

    async fn has_started(&self, function: &str) {
        eventually("the call has started", async || self.started.0.lock().iter().any(|f| f == function))
            .await;
    }

    fn started(&self) -> Vec<String> {
        self.started.0.lock().clone()
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.end.cancel();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Calls a function, and returns the error and when it came.
fn call(channel: &Channel, function: &str) -> tokio::task::JoinHandle<(Result<(), Error>, Instant)> {
    let mut client = ExecutionClient::new(channel.clone());
    let request = ExecuteRequest {
        function: function.into(),
        args: Bytes::from_static(b"{}"),
        ..ExecuteRequest::default()
    };
    tokio::spawn(async move {
        let answer = client.execute(Deadline::after(Duration::from_secs(60)).attach(request)).await;
        (answer.map(|_| ()).map_err(Error::from), Instant::now())
    })
}

async fn quick(channel: &Channel) -> Result<(), Error> {
    call(channel, "quick").await.expect("no panic").0
}

async fn failure(call: tokio::task::JoinHandle<(Result<(), Error>, Instant)>) -> (Error, Instant) {
    let (answer, at) = call.await.expect("no panic");
    (answer.expect_err("the peer is paused"), at)
}

#[tokio::test]
async fn calls_end_in_time_and_those_that_were_not_sent_are_known() {
    let dir = tempfile::tempdir().expect("a directory");
    for peer in [Peer::tcp(), Peer::start(&Listen::Unix(dir.path().join("peer.sock")))] {
        let channel = peer.channel();
        quick(&channel).await.expect("an answer");
        let running = call(&channel, "running");
        peer.has_started("running").await;

        let (pause, paused) = (peer.pause(), Instant::now());
        let unread = call(&channel, "unread");
        // By now a ping has had no answer.
        tokio::time::sleep(Duration::from_millis(1000)).await;
        let unsent: Vec<_> = (0..3).map(|_| call(&channel, "unsent")).collect();
        for call in [running, unread] {
            let (error, at) = failure(call).await;
            assert_eq!(error.reason, Reason::ConnectionLost, "{error}");
            assert!(error.message.contains("it does not answer"), "{error}");
            assert!(at - paused < NOTICE, "{:?}", at - paused);
        }
        for call in unsent {
            let (error, at) = failure(call).await;
            assert!(error.not_started(), "{error}");
            assert!(at - paused < NOTICE, "{:?}", at - paused);
        }
        // The kernel accepts the connection.
        let began = Instant::now();
        let (error, at) = failure(call(&channel, "unsent")).await;
        assert!(error.not_started(), "{error}");
        assert!(at - began < NOTICE, "{:?}", at - began);

        drop(pause);
        eventually("the peer answers again", async || quick(&channel).await.is_ok()).await;
        let mut started = peer.started();
        started.retain(|function| function != "quick");
        assert_eq!(started, ["running"], "what was unread when its caller gave up does not start");
    }
}

#[tokio::test]
async fn a_peer_that_was_paused_while_there_were_no_calls_gets_none() {
    let peer = Peer::tcp();
    let channel = peer.channel();
    quick(&channel).await.expect("an answer");
    let _pause = peer.pause();
    tokio::time::sleep(Duration::from_secs(2)).await;
    let began = Instant::now();
    let (error, at) = failure(call(&channel, "late")).await;
    assert!(error.not_started(), "{error}");
    assert!(at - began < NOTICE, "{:?}", at - began);
}

#[tokio::test]
async fn a_short_pause_only_delays_calls() {
    let peer = Peer::tcp();
    let channel = peer.channel();
    quick(&channel).await.expect("an answer");
    let running = call(&channel, "running");
    peer.has_started("running").await;
    let pause = peer.pause();
    tokio::time::sleep(Duration::from_millis(1000)).await;
    let held = tokio::spawn(async move { quick(&channel).await });
    drop(pause);
    assert_eq!(held.await.expect("no panic"), Ok(()));
    assert!(!running.is_finished(), "the connection is still the same");
    running.abort();
}
