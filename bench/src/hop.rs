//! Measures what a hop costs: a call of `Execute` whose handler only answers, as the scheduler makes it, with a
//! deadline, a trace context that is not sampled, the mesh's secret, and a receipt in the trailers.
//!
//! Both sides of the call share one thread. The cost is CPU time, that of both sides and of the kernel: unlike the
//! elapsed time, it depends little on the other load of the machine. The cases take turns.

use std::time::Duration;

use anyhow::Context as _;
use futures::future::BoxFuture;
use mesh::auth::Secret;
use mesh::config::{Listen, ServerConfig};
use mesh::deadline::Deadline;
use mesh::endpoint::Endpoint;
use mesh::health::Readiness;
use mesh::listener::Listener;
use mesh::receipt::{self, Receipt};
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::telemetry::{self, Traced as _};
use mesh::{Caller, Channel, Dialer};
use proto::Execute;
use proto::registry::v1::{Code, Limits};
use proto::worker::v1::execute_response::Outcome;
use proto::worker::v1::execution_client::ExecutionClient;
use proto::worker::v1::execution_server::{Execution, ExecutionServer};
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// The caller's trace, which is not sampled.
const TRACE: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00";
const TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, clap::Args)]
pub struct Options {
    /// The number of calls at once; may be repeated.
    #[arg(long, default_values_t = [1, 32], value_parser = clap::value_parser!(u32).range(1..))]
    concurrent: Vec<u32>,
    /// The number of calls per turn.
    #[arg(long, default_value_t = 5000, value_parser = clap::value_parser!(u32).range(1..))]
    calls: u32,
    /// The number of turns of each case.
    #[arg(long, default_value_t = 15, value_parser = clap::value_parser!(u32).range(1..))]
    turns: u32,
}

/// Measures all cases, on a thread of its own.
pub fn run(options: &Options) -> anyhow::Result<()> {
    let measured =
        || tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(measure(options));
    std::thread::scope(|threads| threads.spawn(measured).join().expect("the measurement does not panic"))
}

/// Makes one call.
type Call = Box<dyn Fn() -> BoxFuture<'static, Result<(), Status>>>;

async fn measure(options: &Options) -> anyhow::Result<()> {
    telemetry::hand_on_contexts();
    let sockets = tempfile::tempdir()?;
    let (secret, tasks) = (Secret::random(), Tasks::default());
    let config = ServerConfig { secret: Some(secret.clone()), ..ServerConfig::default() };
    let metrics = mesh::metrics::registry_of("worker");
    let readiness = Readiness::default();
    let (router, methods) = Grpc::default()
        .service(ExecutionServer::new(Worker))
        .method::<Execute, _>(|request| async { Worker.execute(request).await })
        .build_with_methods(&config, &metrics, &readiness, &tasks);
    let service = Service {
        name: "worker",
        router: router.clone(),
        methods: Some(methods),
        more: Vec::new(),
        tasks: tasks.clone(),
        readiness,
    };
    let dialer = Dialer::new(Some(secret), None);
    dialer.provide_service("worker", &service);
    let local = dialer.dial(&Endpoint::Local("worker".to_owned()))?;
    let mut cases = vec![
        ("handler", "generated client and server, nothing around them", bare()),
        ("local", "within the process, as the mesh's own calls", directly(local.clone())),
        ("local, encoded", "within the process, by a generated client", through(local)),
    ];
    let remote = [
        ("unix", "Unix socket", Listen::Unix(sockets.path().join("worker.sock"))),
        ("tcp", "TCP, loopback", Listen::Tcp(([127, 0, 0, 1], 0).into())),
    ];
    let draining = CancellationToken::new();
    for (name, what, listen) in remote {
        let listener = Listener::bind(&listen).await?;
        let endpoint = listener.endpoint().context("a bound listener has an endpoint")?;
        tasks.spawn(listener.serve(router.clone(), draining.clone(), TIMEOUT));
        cases.push((name, what, through(dialer.dial(&endpoint)?)));
    }
    for &concurrent in &options.concurrent {
        let mut measured = vec![Vec::new(); cases.len()];
        // The first turn warms up.
        for turn in 0..=options.turns {
            for ((_, _, call), measured) in cases.iter().zip(&mut measured) {
                let micros = cpu_per_call(call, options.calls, concurrent).await?;
                measured.extend((turn > 0).then_some(micros));
            }
        }
        for ((name, what, _), mut micros) in cases.iter().zip(measured) {
            micros.sort_unstable_by(f64::total_cmp);
            print(name, what, concurrent, &micros)?;
        }
    }
    drop(cases);
    draining.cancel();
    tasks.stop(Duration::from_secs(1)).await;
    Ok(())
}

fn print(name: &str, what: &str, concurrent: u32, micros: &[f64]) -> anyhow::Result<()> {
    let rounded = |micros: &f64| (micros * 100.0).round() / 100.0;
    let least = micros.first().map(rounded).context("no turns")?;
    let median = micros.get(micros.len() / 2).map(rounded).context("no turns")?;
    println!(
        "{}",
        json!({
            "name": "hop",
            "hop": name,
            "description": what,
            "concurrent": concurrent,
            "cpu_us_least": least,
            "cpu_us_median": median,
        })
    );
    Ok(())
}

/// The CPU time of a call, in microseconds.
async fn cpu_per_call(call: &Call, calls: u32, concurrent: u32) -> anyhow::Result<f64> {
    let rounds = calls.div_ceil(concurrent);
    let began = cpu_time();
    for _ in 0..rounds {
        if concurrent == 1 {
            call().await?;
        } else {
            futures::future::try_join_all((0..concurrent).map(|_| call())).await?;
        }
    }
    Ok((cpu_time() - began).as_secs_f64() * 1e6 / f64::from(rounds * concurrent))
}

/// The CPU time of this process.
fn cpu_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).expect("a process's time is not negative")
}

/// Calls the method as a type, within the caller's trace.
fn directly(channel: Channel) -> Call {
    let trace = telemetry::parent_of(&trace());
    Box::new(move || {
        let (channel, trace) = (channel.clone(), trace.clone());
        let call = async move {
            let deadline = Deadline::after(TIMEOUT);
            check(&channel.unary::<Execute>(request(), deadline, &Caller::Service).await?)
        };
        Box::pin(call.traced(tracing::Span::none(), trace))
    })
}

/// The headers with the caller's trace.
fn trace() -> http::HeaderMap {
    let name = http::HeaderName::from_static("traceparent");
    http::HeaderMap::from_iter([(name, http::HeaderValue::from_static(TRACE))])
}

/// Calls through `channel` with a generated client, within the caller's trace.
fn through(channel: Channel) -> Call {
    let trace = telemetry::parent_of(&trace());
    Box::new(move || {
        let (mut client, trace) = (ExecutionClient::new(channel.clone()), trace.clone());
        let call = async move { client.execute(Deadline::after(TIMEOUT).attach(request())).await };
        Box::pin(
            async move { call.traced(tracing::Span::none(), trace).await.and_then(|answer| check(&answer)) },
        )
    })
}

/// Calls the generated server with the generated client.
fn bare() -> Call {
    Box::new(|| {
        let mut client = ExecutionClient::new(ExecutionServer::new(Worker));
        Box::pin(async move { client.execute(Deadline::after(TIMEOUT).attach(request())).await.map(drop) })
    })
}

fn request() -> ExecuteRequest {
    ExecuteRequest {
        invocation_id: "01900000-0000-7000-8000-0123456789ab".to_owned(),
        module: "shop".to_owned(),
        function: "checkout".to_owned(),
        code: Some(Code { hash: vec![7; 32].into(), size: 100_000, ..Code::default() }),
        limits: Some(Limits::default()),
        args: br#"{"name":"you"}"#.as_slice().into(),
        scheduler_id: "01900000-0000-7000-8000-0123456789ab".to_owned(),
        function_id: "01900000-0000-7000-8000-0123456789ab".to_owned(),
        ..ExecuteRequest::default()
    }
}

/// Whether the receipt has arrived.
fn check(answer: &Response<ExecuteResponse>) -> Result<(), Status> {
    match receipt::of(answer.metadata()).run_us {
        7 => Ok(()),
        _ => Err(Status::data_loss("the response has no receipt")),
    }
}

/// Answers at once.
struct Worker;

#[tonic::async_trait]
impl Execution for Worker {
    async fn execute(&self, _: Request<ExecuteRequest>) -> Result<Response<ExecuteResponse>, Status> {
        let result = br#"{"payload":"Hello you!"}"#.as_slice().into();
        let mut response = Response::new(ExecuteResponse { outcome: Some(Outcome::Result(result)) });
        receipt::attach(&mut response, &Receipt { run_us: 7, ..Receipt::default() });
        Ok(response)
    }
}
