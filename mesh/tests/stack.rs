//! The server stack, through all kinds of channels, which behave alike.

mod requests;

use std::sync::Arc;
use std::time::Duration;

use mesh::auth::Secret;
use mesh::config::{Listen, ServerConfig};
use mesh::deadline::Deadline;
use mesh::endpoint::Endpoint;
use mesh::health::{Condition, Readiness};
use mesh::listener::{Listener, serve_one};
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::telemetry::current_trace_id;
use mesh::testing::{Served, eventually};
use mesh::{Caller, Channel, Dialer, Error, Reason};
use opentelemetry::trace::{TraceContextExt as _, TracerProvider as _};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::SdkTracerProvider;
use proto::Execute;
use proto::worker::v1::execute_response::Outcome;
use proto::worker::v1::execution_client::ExecutionClient;
use proto::worker::v1::execution_server::{Execution, ExecutionServer};
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tracing::Instrument as _;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;

/// Behaves as the name of the function says.
#[derive(Clone)]
struct FakeWorker {
    /// The number of running calls.
    running: Arc<watch::Sender<usize>>,
    /// Releases the waiting calls.
    release: watch::Receiver<bool>,
}

struct Running(Arc<watch::Sender<usize>>);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.send_modify(|running| *running -= 1);
    }
}

#[tonic::async_trait]
impl Execution for FakeWorker {
    async fn execute(&self, request: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        self.running.send_modify(|running| *running += 1);
        let _running = Running(Arc::clone(&self.running));
        let answer = match request.get_ref().function.as_str() {
            "panic" => panic!("as requested"),
            "fail" => return Err(Error::field("name", "can't be blank").into()),
            "wait" => {
                let _ = self.release.clone().wait_for(|released| *released).await;
                "waited".to_owned()
            }
            "caller" => format!("{:?}", Caller::of(&request)),
            "deadline" => format!("{}", Deadline::of(&request).is_some()),
            "trace" => match request.metadata().get("traceparent") {
                Some(header) => format!("{header:?}"),
                None => current_trace_id().unwrap_or_default(),
            },
            other => panic!("{other}?"),
        };
        Ok(Response::new(ExecuteResponse { outcome: Some(Outcome::FunctionError(answer)) }))
    }
}

/// A channel, and whether the method is called as a type.
#[derive(Clone)]
struct Way {
    channel: Channel,
    typed: bool,
}

impl std::ops::Deref for Way {
    type Target = Channel;

    fn deref(&self) -> &Channel {
        &self.channel
    }
}

struct Stage {
    channels: Vec<(&'static str, Way)>,
    router: axum::Router,
    running: Arc<watch::Sender<usize>>,
    release: watch::Sender<bool>,
    database: Condition,
    metrics: prometheus::Registry,
    served: Served,
    tasks: Tasks,
}

/// A fake worker behind the stack, reached in the process, over TCP and through a tunnel, by generated clients and as a
/// typed method.
async fn stage(config: &ServerConfig, secret: Option<&str>) -> Stage {
    mesh::tls::install_crypto();
    let running = Arc::new(watch::Sender::new(0));
    let (release, released) = watch::channel(false);
    let worker = FakeWorker { running: Arc::clone(&running), release: released };
    let (readiness, tasks, metrics) = (Readiness::default(), Tasks::default(), prometheus::Registry::new());
    let database = readiness.condition("database");
    database.set(true);
    let _ = readiness.serving();
    let direct = worker.clone();
    let (router, methods) = Grpc::default()
        .service(ExecutionServer::new(worker))
        .method::<Execute, _>(move |request| {
            let worker = direct.clone();
            async move { worker.execute(request).await }
        })
        .build_with_methods(config, &metrics, &readiness, &tasks);
    let service = Service {
        name: "worker",
        router: router.clone(),
        methods: Some(methods),
        more: Vec::new(),
        tasks: tasks.clone(),
        readiness,
    };

    let dialer = Dialer::new(secret.map(Secret::new), None);
    dialer.provide_service("worker", &service);
    let served = Served::start(router.clone()).await;
    let way =
        |endpoint: &Endpoint, typed| Way { channel: dialer.dial(endpoint).expect("a valid endpoint"), typed };
    let local = Endpoint::Local("worker".into());
    let (near, far, _) = mesh::testing::tunnel();
    tokio::spawn(serve_one(far, router.clone(), CancellationToken::new(), Duration::from_secs(5)));
    let channels = vec![
        ("local", way(&local, false)),
        ("tcp", way(&served.endpoint, false)),
        (
            "tunnel",
            Way { channel: dialer.dial_tunnel("worker", near).await.expect("an open tunnel"), typed: false },
        ),
        ("typed local", way(&local, true)),
        ("typed tcp", way(&served.endpoint, true)),
    ];
    Stage { channels, router, running, release, database, metrics, served, tasks }
}

async fn call(way: &Way, function: &str) -> Result<String, Error> {
    call_within(way, function, Duration::from_secs(10)).await
}

async fn call_within(way: &Way, function: &str, limit: Duration) -> Result<String, Error> {
    let request = ExecuteRequest { function: function.into(), ..ExecuteRequest::default() };
    let deadline = Deadline::after(limit);
    let response = match way.typed {
        true => way.unary::<Execute>(request, deadline, &Caller::Service).await?,
        false => ExecutionClient::new(way.channel.clone()).execute(deadline.attach(request)).await?,
    };
    match response.into_inner().outcome {
        Some(Outcome::FunctionError(answer)) => Ok(answer),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn failures_keep_their_reason() {
    let stage = stage(&ServerConfig::default(), None).await;
    for (kind, channel) in &stage.channels {
        let refused = call(channel, "fail").await.expect_err("refused");
        assert_eq!(refused, Error::field("name", "can't be blank"), "{kind}");
        let panicked = call(channel, "panic").await.expect_err("panicked");
        assert_eq!(
            (panicked.reason, panicked.message.as_str()),
            (Reason::Internal, "internal error"),
            "{kind}"
        );
        assert_eq!(call(channel, "deadline").await.as_deref(), Ok("true"), "{kind}: the next call is served");
    }
}

#[tokio::test]
async fn the_handler_ends_at_the_deadline() {
    let stage = stage(&ServerConfig::default(), None).await;
    for (kind, channel) in &stage.channels {
        let late = call_within(channel, "wait", Duration::from_millis(50)).await.expect_err("late");
        assert_eq!(late.reason, Reason::DeadlineExceeded, "{kind}: {late}");
        eventually("the handler has ended", || async { *stage.running.borrow() == 0 }).await;
    }
}

#[tokio::test]
async fn the_handler_ends_when_its_caller_disconnects() {
    let stage = stage(&ServerConfig::default(), None).await;
    for (_, channel) in &stage.channels {
        let channel = channel.clone();
        let caller = tokio::spawn(async move { call(&channel, "wait").await });
        eventually("the handler runs", || async { *stage.running.borrow() == 1 }).await;
        caller.abort();
        eventually("the handler has ended", || async { *stage.running.borrow() == 0 }).await;
    }
}

#[tokio::test]
async fn the_trace_continues() {
    opentelemetry::global::set_text_map_propagator(TraceContextPropagator::new());
    let tracer = SdkTracerProvider::builder().build().tracer("tests");
    let traces = tracing_subscriber::registry().with(tracing_opentelemetry::layer().with_tracer(tracer));
    let _collected = tracing::subscriber::set_default(traces);
    let stage = stage(&ServerConfig::default(), None).await;
    for (kind, channel) in &stage.channels {
        let span = tracing::info_span!("caller");
        let trace = span.context().span().span_context().trace_id().to_string();
        let answer = call(channel, "trace").instrument(span).await.expect("served");
        assert!(answer.contains(&trace), "{kind}: {answer} should contain {trace}");
    }
}

#[tokio::test]
async fn calls_over_the_limit_are_refused_at_once() {
    let config = ServerConfig { max_concurrent: 2, ..ServerConfig::default() };
    let stage = stage(&config, None).await;
    for (kind, channel) in &stage.channels {
        stage.release.send_replace(false);
        let waiting: Vec<_> = (0..2)
            .map(|_| {
                let channel = channel.clone();
                tokio::spawn(async move { call(&channel, "wait").await })
            })
            .collect();
        eventually("both calls run", || async { *stage.running.borrow() == 2 }).await;
        let refused = call(channel, "caller").await.expect_err("a third call");
        assert_eq!(refused.reason, Reason::Overloaded, "{kind}");
        assert!(refused.not_started() && refused.retry_after.is_some(), "{kind}");
        stage.release.send_replace(true);
        for call in waiting {
            assert_eq!(call.await.expect("no panic").as_deref(), Ok("waited"));
        }
        eventually("a permit is free again", || async { call(channel, "caller").await.is_ok() }).await;
    }
}

#[tokio::test]
async fn the_secret_is_required_except_for_health() {
    let config = ServerConfig { secret: Some(Secret::new("open sesame")), ..ServerConfig::default() };
    for (shown, served) in [(None, false), (Some("guess"), false), (Some("open sesame"), true)] {
        let stage = stage(&config, shown).await;
        for (kind, channel) in &stage.channels {
            let outcome = call(channel, "caller").await;
            match served {
                true => assert_eq!(outcome.as_deref(), Ok("Service"), "{kind}"),
                false => assert_eq!(outcome.expect_err("refused").reason, Reason::PermissionDenied, "{kind}"),
            }
            let mut health = HealthClient::new(channel.channel.clone());
            health.check(HealthCheckRequest::default()).await.expect("health is for everyone");
        }
    }
}

#[tokio::test]
async fn health_follows_readiness() {
    let stage = stage(&ServerConfig::default(), None).await;
    let mut health = HealthClient::new(stage.channels[0].1.channel.clone());
    for ready in [true, false, true] {
        stage.database.set(ready);
        let expected = if ready { ServingStatus::Serving } else { ServingStatus::NotServing };
        for service in ["", "funless.worker.v1.Execution"] {
            let request = HealthCheckRequest { service: service.into() };
            eventually("the status follows", || {
                let (mut health, request) = (health.clone(), request.clone());
                async move { health.check(request).await.is_ok_and(|r| r.get_ref().status() == expected) }
            })
            .await;
        }
    }
    health
        .check(HealthCheckRequest { service: "no.such.Service".into() })
        .await
        .expect_err("an unknown service");
    stage.tasks.stop(Duration::from_secs(1)).await;
}

#[tokio::test]
async fn calls_are_counted_by_outcome() {
    for kind in ["tcp", "typed local"] {
        calls_are_counted(kind).await;
    }
}

async fn calls_are_counted(kind: &str) {
    let stage = stage(&ServerConfig::default(), None).await;
    let (_, channel) = stage.channels.iter().find(|(name, _)| *name == kind).expect("a kind");
    call(channel, "caller").await.expect("served");
    call(channel, "fail").await.expect_err("refused");
    let counted = |code: &str| {
        let wanted = format!(
            r#"funless_rpc_server_duration_seconds_count{{code="{code}",rpc="/funless.worker.v1.Execution/Execute"}} 1"#
        );
        let page = prometheus::TextEncoder::new().encode_to_string(&stage.metrics.gather()).expect("text");
        async move { page.contains(&wanted) }
    };
    eventually("the success is counted", || counted("Ok")).await;
    eventually("the refusal is counted", || counted("InvalidArgument")).await;
}

#[tokio::test]
async fn draining_finishes_running_calls_and_refuses_new_ones() {
    let stage = stage(&ServerConfig::default(), None).await;
    let listener = Listener::bind(&Listen::Tcp(([127, 0, 0, 1], 0).into())).await.expect("a free port");
    let endpoint = listener.endpoint().expect("bound");
    let draining = CancellationToken::new();
    let server =
        tokio::spawn(listener.serve(stage.router.clone(), draining.clone(), Duration::from_secs(10)));
    let channel = Dialer::default().dial(&endpoint).expect("a valid endpoint");
    let channel = Way { channel, typed: false };
    let running = tokio::spawn({
        let channel = channel.clone();
        async move { call(&channel, "wait").await }
    });
    eventually("the call runs", || async { *stage.running.borrow() == 1 }).await;
    draining.cancel();
    eventually("new calls are refused as not started", || async {
        call(&channel, "caller").await.is_err_and(|error| error.not_started())
    })
    .await;
    assert!(!running.is_finished());
    stage.release.send_replace(true);
    assert_eq!(running.await.expect("no panic").as_deref(), Ok("waited"));
    server.await.expect("the server ends");
}

#[tokio::test]
async fn a_crashed_peer_differs_from_one_that_was_never_reached() {
    let stage = stage(&ServerConfig::default(), None).await;
    let unreachable =
        Dialer::default().dial(&"http://127.0.0.1:1".parse().expect("an endpoint")).expect("dials later");
    let unreachable = Way { channel: unreachable, typed: true };
    let unreached = call(&unreachable, "wait").await.expect_err("nothing listens there");
    assert!(unreached.not_started(), "{unreached:?}");

    // Cut the connection during a call, as a crash of the process does.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let proxy = listener.local_addr().expect("bound");
    let Endpoint::Tcp(behind) = stage.channels[1].1.endpoint().clone() else { panic!("not TCP") };
    let link = tokio::spawn(async move {
        let (mut near, _) = listener.accept().await.expect("a client");
        let address = behind.authority().expect("an address").to_string();
        let mut far = tokio::net::TcpStream::connect(address).await.expect("the server");
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    });
    let channel =
        Dialer::default().dial(&format!("http://{proxy}").parse().expect("an endpoint")).expect("dials");
    let channel = Way { channel, typed: true };
    let running = tokio::spawn(async move { call(&channel, "wait").await });
    eventually("the call runs", || async { *stage.running.borrow() == 1 }).await;
    link.abort();
    let lost = running.await.expect("no panic").expect_err("lost");
    assert_eq!(lost.reason, Reason::ConnectionLost, "{lost:?}");
}

#[tokio::test]
async fn unix_sockets_serve_and_stale_ones_are_replaced() {
    let stage = stage(&ServerConfig::default(), None).await;
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("worker.sock");
    drop(std::os::unix::net::UnixListener::bind(&path).expect("a stale socket"));
    let listener = Listener::bind(&Listen::Unix(path)).await.expect("replaced");
    let channel = Dialer::default().dial(&listener.endpoint().expect("bound")).expect("dials");
    let channel = Way { channel, typed: false };
    let draining = CancellationToken::new();
    let server = tokio::spawn(listener.serve(stage.router.clone(), draining.clone(), Duration::from_secs(5)));
    assert_eq!(call(&channel, "caller").await.as_deref(), Ok("Service"));
    draining.cancel();
    server.await.expect("the server ends");
}
