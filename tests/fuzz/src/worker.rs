//! A whole worker, with servers in place of the registry and of the web.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::Stream;
use futures::stream::once;
use mesh::config::ServerConfig;
use mesh::egress::EgressConfig;
use mesh::hash::Hash;
use mesh::health::Readiness;
use mesh::receipt;
use mesh::server::{Grpc, Service};
use mesh::shutdown::Tasks;
use mesh::testing::{self, Served};
use mesh::{Channel, Error, Host, Reason};
use parking_lot::Mutex;
use proto::receipt::v1::Receipt;
use proto::registry::v1::code_store_server::{CodeStore, CodeStoreServer};
use proto::registry::v1::{Code, FetchCodeRequest, FetchCodeResponse};
use proto::worker::v1::execute_response::Outcome;
use proto::worker::v1::execution_client::ExecutionClient;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tonic::{Request, Response, Status};
use worker_svc::{App, Config};

use crate::assert_message;

/// The memory of an invocation, in bytes.
pub(crate) const MEMORY_BYTES: u64 = 1 << 20;
const OUTPUT_BYTES: u64 = 4 << 10;
const TIMEOUT_MS: u64 = 100;
/// How long an invocation takes, at most: the worker may be busy, and compiles first.
const PATIENCE: Duration = Duration::from_secs(20);

/// How functions may fail by themselves.
const OWN_FAILURES: [Reason; 7] = [
    Reason::GuestTrapped,
    Reason::GuestExited,
    Reason::GuestBadResponse,
    Reason::GuestMemoryLimit,
    Reason::GuestOutputLimit,
    Reason::GuestStackLimit,
    Reason::DeadlineExceeded,
];

/// A worker with small limits. Its functions reach nothing but a server that sends bodies back.
pub(crate) struct Worker {
    site: Site,
    runtime: Runtime,
}

/// The worker and the servers around it.
struct Site {
    client: ExecutionClient<Channel>,
    code: CodeOfFunctions,
    web_port: u16,
    _service: Service,
    _servers: [Served; 2],
    _cache: TempDir,
}

#[derive(Clone, Default)]
struct CodeOfFunctions(Arc<Mutex<HashMap<Hash, Bytes>>>);

type Chunks = Pin<Box<dyn Stream<Item = Result<FetchCodeResponse, Status>> + Send>>;

#[tonic::async_trait]
impl CodeStore for CodeOfFunctions {
    type FetchCodeStream = Chunks;

    async fn fetch_code(&self, request: Request<FetchCodeRequest>) -> Result<Response<Chunks>, Status> {
        let hash = Hash::try_from(request.into_inner().hash.as_ref()).expect("a hash");
        let chunk = self.0.lock().get(&hash).cloned();
        let chunk = chunk.ok_or_else(|| Error::new(Reason::CodeNotFound, "no function uses this code"))?;
        Ok(Response::new(Box::pin(once(async { Ok(FetchCodeResponse { chunk }) }))))
    }
}

impl Site {
    async fn start() -> Result<Self, Box<dyn std::error::Error>> {
        let code = CodeOfFunctions::default();
        let registry = Grpc::default().service(CodeStoreServer::new(code.clone())).build(
            &ServerConfig::default(),
            &prometheus::Registry::new(),
            &Readiness::default(),
            &Tasks::default(),
        );
        let registry = Served::start(registry).await;
        let web = Served::start(axum::Router::new().fallback(async |body: Bytes| body)).await;
        let web_port = web.endpoint.port().ok_or("a TCP port")?;
        let only = vec![format!("127.0.0.1:{web_port}").parse()?];
        let cache = tempfile::tempdir()?;
        let config = Config {
            name: "worker".into(),
            registry: registry.endpoint.clone(),
            // An address where nothing listens.
            schedulers: vec!["http://127.0.0.1:9".parse()?],
            cache_dir: cache.path().into(),
            max_concurrent: 4,
            memory_bytes: MEMORY_BYTES,
            output_bytes: OUTPUT_BYTES,
            log_bytes: 4 << 10,
            stack_bytes: 128 << 10,
            timeout_ms: TIMEOUT_MS,
            http_timeout_ms: TIMEOUT_MS,
            egress: EgressConfig { only, ..testing::egress::loopback() },
            ..Config::default()
        };
        let host = Host { resolver: testing::egress::resolver(&[]), ..testing::host("worker") };
        let service = App::start(config, host.clone()).await?;
        let client = ExecutionClient::new(testing::serve_local(&host, &service));
        Ok(Self { client, code, web_port, _service: service, _servers: [registry, web], _cache: cache })
    }
}

impl Worker {
    /// Starts it.
    pub(crate) fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let site = runtime.block_on(Site::start()).expect("the worker starts");
        Self { site, runtime }
    }

    /// The port of the web server.
    pub(crate) fn web_port(&self) -> u16 {
        self.site.web_port
    }

    /// Adds code, and returns its hash.
    pub(crate) fn add(&self, code: Bytes) -> Hash {
        let hash = Hash::of(&code);
        self.site.code.0.lock().insert(hash, code);
        hash
    }

    /// Removes code that is not needed any more.
    pub(crate) fn remove(&self, hash: Hash) {
        self.site.code.0.lock().remove(&hash);
    }

    /// Runs a function once, and checks that it ends in time, within its limits and with a result or an error of its
    /// own. Returns why it failed, if it did.
    pub(crate) fn run(&mut self, code: Hash, args: Bytes) -> Result<(), Reason> {
        let request = ExecuteRequest {
            invocation_id: "invocation".into(),
            module: "_".into(),
            function: "f".into(),
            code: Some(Code { hash: code.to_bytes(), ..Code::default() }),
            args,
            ..ExecuteRequest::default()
        };
        let started = Instant::now();
        let execute = async { tokio::time::timeout(PATIENCE, self.site.client.execute(request)).await };
        let ended = self.runtime.block_on(execute).expect("the invocation ends in time");
        let took = started.elapsed();
        match ended {
            Ok(response) => {
                check_receipt(&receipt::of(response.metadata()), took);
                check_outcome(response.into_inner());
                Ok(())
            }
            Err(status) => {
                check_receipt(&receipt::of(status.metadata()), took);
                let error = Error::from(status);
                assert!(OWN_FAILURES.contains(&error.reason), "{error:?}");
                assert_message(&error.message);
                Err(error.reason)
            }
        }
    }
}

fn check_receipt(receipt: &Receipt, took: Duration) {
    assert!(receipt.peak_memory_bytes <= MEMORY_BYTES, "{receipt:?}");
    assert!(receipt.out_bytes <= OUTPUT_BYTES, "{receipt:?}");
    assert!(u128::from(receipt.run_us) <= took.as_micros(), "{receipt:?} in {took:?}");
    assert!(receipt.cpu_us <= TIMEOUT_MS * 20_000, "{receipt:?}");
}

fn check_outcome(response: ExecuteResponse) {
    match response.outcome.expect("an outcome") {
        Outcome::Result(result) => {
            assert!(result.len() as u64 <= OUTPUT_BYTES, "a result of {} bytes", result.len());
            let result = std::str::from_utf8(&result).expect("a result is UTF-8");
            serde_json::from_str::<serde::de::IgnoredAny>(result).expect("a result is JSON");
        }
        Outcome::FunctionError(message) => {
            assert!(message.len() as u64 <= OUTPUT_BYTES, "a message of {} bytes", message.len());
        }
    }
}
