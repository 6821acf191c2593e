//! Tunnels: what they carry, backpressure, and failures. `stack.rs` tests the server stack through tunnels.

use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use mesh::config::ServerConfig;
use mesh::deadline::Deadline;
use mesh::health::Readiness;
use mesh::listener::serve_one;
use mesh::server::Grpc;
use mesh::shutdown::Tasks;
use mesh::testing::{self, eventually};
use mesh::tunnel::{BUFFER_BYTES, CHUNK_BYTES};
use mesh::{Channel, Dialer, Error, MAX_MESSAGE_BYTES, Reason, tunnel};
use proto::worker::v1::execute_response::Outcome;
use proto::worker::v1::execution_client::ExecutionClient;
use proto::worker::v1::execution_server::{Execution, ExecutionServer};
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tokio::io::{AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// Returns the arguments; for the function `wait`, only after `release`.
#[derive(Clone)]
struct Echo {
    arrived: Arc<watch::Sender<usize>>,
    release: watch::Receiver<bool>,
}

#[tonic::async_trait]
impl Execution for Echo {
    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        self.arrived.send_modify(|arrived| *arrived += 1);
        let request = request.into_inner();
        if request.function == "wait" {
            let _ = self.release.clone().wait_for(|released| *released).await;
        }
        Ok(Response::new(ExecuteResponse { outcome: Some(Outcome::Result(request.args)) }))
    }
}

/// An echo server at the far end of a tunnel.
struct Stage {
    channel: Channel,
    arrived: Arc<watch::Sender<usize>>,
    release: watch::Sender<bool>,
    draining: CancellationToken,
    broken: CancellationToken,
    serving: JoinHandle<()>,
}

impl Stage {
    async fn start() -> Self {
        let arrived = Arc::new(watch::Sender::new(0));
        let (release, released) = watch::channel(false);
        let echo = ExecutionServer::new(Echo { arrived: Arc::clone(&arrived), release: released })
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        let router = Grpc::default().service(echo).build(
            &ServerConfig::default(),
            &prometheus::Registry::new(),
            &Readiness::default(),
            &Tasks::default(),
        );
        let (near, far, broken) = testing::tunnel();
        let draining = CancellationToken::new();
        let serving = tokio::spawn(serve_one(far, router, draining.clone(), Duration::from_secs(10)));
        let channel = Dialer::default().dial_tunnel("w", near).await.expect("an open tunnel");
        Self { channel, arrived, release, draining, broken, serving }
    }

    fn call(&self, function: &str, args: Bytes) -> impl Future<Output = Result<Bytes, Error>> + use<> {
        let request = ExecuteRequest { function: function.into(), args, ..ExecuteRequest::default() };
        let mut client = ExecutionClient::new(self.channel.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        async move {
            let call = Deadline::after(Duration::from_secs(30)).attach(request);
            match client.execute(call).await?.into_inner().outcome {
                Some(Outcome::Result(args)) => Ok(args),
                other => panic!("{other:?}"),
            }
        }
    }

    async fn arrived(&self, count: usize) {
        eventually(&format!("{count} calls have arrived"), || async { *self.arrived.borrow() == count })
            .await;
    }
}

#[tokio::test]
async fn the_largest_messages_pass_in_both_directions() {
    let stage = Stage::start().await;
    let large: Bytes = (0..MAX_MESSAGE_BYTES - 1024).map(|index| (index % 251) as u8).collect();
    let answers = futures::future::join_all((0..3).map(|_| stage.call("echo", large.clone()))).await;
    for answer in answers {
        assert!(answer.expect("an answer") == large, "differs from what was sent");
    }
}

#[tokio::test]
async fn concurrent_calls_do_not_block_each_other() {
    let stage = Stage::start().await;
    let mut waiting: FuturesUnordered<_> = (0..150)
        .map(|number: u32| {
            let args = Bytes::from(number.to_string().repeat(100));
            let call = stage.call("wait", args.clone());
            tokio::spawn(async move { (call.await, args) })
        })
        .collect();
    stage.arrived(150).await;
    assert_eq!(stage.call("echo", "quick".into()).await, Ok("quick".into()));
    stage.release.send_replace(true);
    while let Some(ended) = waiting.next().await {
        let (answer, args) = ended.expect("no panic");
        assert_eq!(answer, Ok(args));
    }
}

#[tokio::test]
async fn calls_during_a_break_may_have_started_and_later_calls_have_not() {
    let stage = Stage::start().await;
    let running = tokio::spawn(stage.call("wait", Bytes::new()));
    stage.arrived(1).await;
    stage.broken.cancel();
    let lost = running.await.expect("no panic").expect_err("lost");
    assert_eq!(lost.reason, Reason::ConnectionLost, "{lost}");
    assert!(lost.message.contains("tunnel:w"), "{lost}");
    for _ in 0..3 {
        let late = stage.call("echo", Bytes::new()).await.expect_err("closed");
        assert_eq!(late.reason, Reason::Unavailable, "{late}");
        assert!(late.message.contains("cannot reach tunnel:w: it is closed"), "{late}");
    }
    stage.serving.await.expect("the server ends, too");
}

#[tokio::test]
async fn an_unserved_tunnel_is_closed() {
    let (near, far, _) = testing::tunnel();
    let channel = Dialer::default().dial_tunnel("w", near).await.expect("connects without an answer");
    drop(far);
    let mut client = ExecutionClient::new(channel);
    eventually("a call is known not to have started", || {
        let call = Deadline::after(Duration::from_secs(5)).attach(ExecuteRequest::default());
        let mut client = client.clone();
        async move { client.execute(call).await.is_err_and(|status| Error::from(status).not_started()) }
    })
    .await;
    let error = Error::from(client.execute(ExecuteRequest::default()).await.expect_err("closed"));
    assert_eq!(error.reason, Reason::Unavailable, "{error}");
}

#[tokio::test]
async fn a_draining_server_finishes_running_calls() {
    let stage = Stage::start().await;
    let running = tokio::spawn(stage.call("wait", "kept".into()));
    stage.arrived(1).await;
    stage.draining.cancel();
    eventually("new calls are refused as not started", || async {
        let late = stage.call("echo", Bytes::new()).await;
        late.is_err_and(|error| error.reason == Reason::Unavailable)
    })
    .await;
    assert!(!running.is_finished() && !stage.serving.is_finished());
    stage.release.send_replace(true);
    assert_eq!(running.await.expect("no panic"), Ok("kept".into()));
    stage.serving.await.expect("it ends after the last call");
}

#[tokio::test]
async fn a_tunnel_ends_with_its_last_channel() {
    let stage = Stage::start().await;
    stage.call("echo", Bytes::new()).await.expect("an answer");
    let Stage { channel, serving, .. } = stage;
    drop(channel);
    serving.await.expect("the server ends");
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_never_answers_times_out() {
    let (near, far, _) = testing::tunnel();
    let channel = Dialer::default().dial_tunnel("w", near).await.expect("connects without an answer");
    // Reads everything and answers nothing.
    let (mut reader, _silent) = tokio::io::split(far);
    let reading = tokio::spawn(async move { tokio::io::copy(&mut reader, &mut tokio::io::sink()).await });
    let call = ExecutionClient::new(channel.clone()).execute(ExecuteRequest::default()).await;
    assert_eq!(Error::from(call.expect_err("no answer")).reason, Reason::Unavailable, "it was not sent");
    let later = ExecutionClient::new(channel).execute(ExecuteRequest::default()).await;
    assert_eq!(Error::from(later.expect_err("closed")).reason, Reason::Unavailable);
    reading.await.expect("no panic").expect("the end of the stream");
}

#[tokio::test]
async fn a_slow_reader_makes_the_writer_wait() {
    let (sending, chunks) = tunnel::sending();
    let mut near = tunnel::end(futures::stream::pending(), sending);
    let mut chunks = pin!(chunks);
    let fill = |near: &mut (dyn AsyncWrite + Unpin + Send)| {
        let mut context = Context::from_waker(Waker::noop());
        let piece = [7; 10_000];
        let mut accepted = 0;
        while let Poll::Ready(written) = Pin::new(&mut *near).poll_write(&mut context, &piece) {
            accepted += written.expect("an open tunnel");
            assert!(accepted <= BUFFER_BYTES, "{accepted} bytes, more than the buffer");
        }
        accepted
    };
    // More polls than tokio's cooperative budget allows.
    let accepted = tokio::task::unconstrained(async { fill(&mut near) }).await;
    assert_eq!(accepted, BUFFER_BYTES);
    let mut sent = 0;
    while sent < CHUNK_BYTES {
        let chunk = chunks.next().await.expect("an open tunnel");
        assert!(chunk.len() <= CHUNK_BYTES, "{} bytes in one message", chunk.len());
        sent += chunk.len();
    }
    let accepted = tokio::task::unconstrained(async { fill(&mut near) }).await;
    assert_eq!(accepted, sent, "reading frees space for the same number of bytes");
}

#[tokio::test]
async fn bytes_arrive_in_order_before_the_end_of_the_stream() {
    let (mut near, mut far, _) = testing::tunnel();
    let sent: Vec<u8> = (0..1_000_000_u32).map(|index| (index % 253) as u8).collect();
    let writing = tokio::spawn({
        let sent = sent.clone();
        async move {
            for piece in sent.chunks(77_777) {
                near.write_all(piece).await.expect("a reader");
            }
        }
    });
    let mut received = Vec::new();
    far.read_to_end(&mut received).await.expect("the end of the stream");
    writing.await.expect("no panic");
    assert!(received == sent, "differs from what was sent");

    let (_near, mut far, broken) = testing::tunnel();
    broken.cancel();
    let error = far.read_u8().await.expect_err("a broken tunnel");
    assert_eq!(
        (error.kind(), error.to_string().as_str()),
        (std::io::ErrorKind::ConnectionReset, "the tunnel broke")
    );
}
