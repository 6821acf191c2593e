//! Bodies of the REST API, JSON and multipart: the whole gateway, with one server in place of the services behind it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use bytes::Bytes;
use futures::stream;
use gateway_svc::{App, Config};
use http::{HeaderMap, HeaderValue, Request, Response};
use http_body_util::{BodyExt as _, Full};
use mesh::Host;
use mesh::endpoint::Endpoint;
use mesh::testing;
use prost::Message as _;
use proto::registry::v1::{AuthenticateResponse, Role, Subject};
use proto::scheduler::v1::InvokeResponse;
use proto::scheduler::v1::invoke_response::Outcome;
use serde_json::Value;
use tokio::runtime::Runtime;
use tower::ServiceExt as _;

use crate::{Check, Verdict, assert_message};

/// The routes with a body, and the content types of their bodies.
const ROUTES: [(&str, &str, &str); 10] = [
    ("POST", "/v1/fn/_", FORM),
    ("PUT", "/v1/fn/_/f", FORM),
    ("POST", "/v1/scripts/app", FORM),
    ("POST", "/v1/fn/_/f", JSON),
    ("POST", "/v1/fn", JSON),
    ("PUT", "/v1/fn/m", JSON),
    ("POST", "/v1/admin/subjects", JSON),
    ("POST", "/v1/app/lint", JSON),
    ("POST", "/v1/app/simulate", JSON),
    ("POST", "/v1/dead-letters/redrive", JSON),
];
const FORM: &str = "multipart/form-data; boundary=b";
const JSON: &str = "application/json";

const MAX_ARGS_BYTES: usize = 2 << 10;
const MAX_CODE_BYTES: u64 = 1 << 10;
/// How long a response takes, at most.
const PATIENCE: Duration = Duration::from_secs(10);

/// `grpc.health.v1.HealthCheckResponse` with the status SERVING.
const SERVING: &[u8] = &[0x08, 0x01];

/// The gateway.
struct Gateway {
    router: Router,
    /// The size of the messages that it has sent.
    sent: Arc<AtomicUsize>,
    runtime: Runtime,
}

/// Inputs are bodies, after a byte that chooses the route and one that chooses the size of the pieces in which they
/// arrive.
pub fn open() -> Check {
    let gateway = Gateway::start();
    Box::new(move |data| match data {
        [route, piece, body @ ..] => gateway.check(usize::from(*route), usize::from(*piece), body),
        _ => Verdict::Refused,
    })
}

impl Gateway {
    fn start() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let host = testing::host("gateway");
        let sent = Arc::new(AtomicUsize::new(0));
        for name in ["registry", "scheduler", "connector", "sink"] {
            host.dialer.provide(name, services(Arc::clone(&sent)));
        }
        let router = runtime.block_on(start(host));
        Self { router, sent, runtime }
    }

    fn check(&self, route: usize, piece: usize, body: &[u8]) -> Verdict {
        let (method, path, content_type) = ROUTES[route % ROUTES.len()];
        let pieces: Vec<_> = match piece {
            0 => vec![Ok(Bytes::copy_from_slice(body))],
            size => body.chunks(size).map(Bytes::copy_from_slice).map(Ok::<_, std::io::Error>).collect(),
        };
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", "Bearer token")
            .header("content-type", content_type)
            .body(Body::from_stream(stream::iter(pieces)))
            .expect("a request");
        self.sent.store(0, Ordering::Relaxed);
        let respond = async {
            let response = self.router.clone().oneshot(request).await.expect("infallible");
            let (parts, body) = response.into_parts();
            (parts.status, body.collect().await.expect("a body").to_bytes())
        };
        let ended = self.runtime.block_on(async { tokio::time::timeout(PATIENCE, respond).await });
        let (status, answer) = ended.expect("a response in time");
        let sent = self.sent.load(Ordering::Relaxed);
        assert!(sent <= 4 * body.len() + (4 << 10), "{sent} bytes sent for {} bytes", body.len());
        let answer: Value = serde_json::from_slice(&answer).unwrap_or(Value::Null);
        if status.is_success() {
            return Verdict::Accepted;
        }
        assert!(status.is_client_error(), "{method} {path}: {status} {answer}");
        let errors = answer["errors"].as_object().unwrap_or_else(|| panic!("{status} without errors"));
        assert!(!errors.is_empty(), "{status}: {answer}");
        errors.values().for_each(check_error);
        Verdict::Refused
    }
}

/// Checks a text, or a list of texts.
fn check_error(error: &Value) {
    match error {
        Value::String(text) => assert_message(text),
        Value::Array(texts) => texts.iter().for_each(check_error),
        other => panic!("an error is a text, not {other}"),
    }
}

async fn start(host: Host) -> Router {
    let local = |name: &str| Endpoint::Local(name.to_owned());
    let config = Config {
        registry: local("registry"),
        scheduler: local("scheduler"),
        connector: local("connector"),
        sink: local("sink"),
        max_args_bytes: MAX_ARGS_BYTES,
        max_code_bytes: MAX_CODE_BYTES,
        ..Config::default()
    };
    App::start(config, host).await.expect("the gateway starts").router
}

/// Answers every call with success, and mostly with an empty message.
fn services(sent: Arc<AtomicUsize>) -> Router {
    Router::new().fallback(async move |request: Request<Body>| {
        let (parts, body) = request.into_parts();
        if let Ok(body) = body.collect().await {
            sent.fetch_add(body.to_bytes().len(), Ordering::Relaxed);
        }
        let message = match parts.uri.path().rsplit('/').next().unwrap_or_default() {
            "Check" => SERVING.to_vec(),
            "Authenticate" => {
                let subject = Subject { name: "root".into(), role: Role::Admin.into(), expires_at_ms: 0 };
                AuthenticateResponse { subject: Some(subject) }.encode_to_vec()
            }
            "Invoke" => {
                let outcome = Some(Outcome::Result(Bytes::from_static(b"null")));
                InvokeResponse { outcome, ..InvokeResponse::default() }.encode_to_vec()
            }
            _ => Vec::new(),
        };
        grpc(&message)
    })
}

/// A gRPC response with one message.
fn grpc(message: &[u8]) -> Response<Body> {
    let length = u32::try_from(message.len()).unwrap_or(u32::MAX);
    let frame = [&[0], &length.to_be_bytes()[..], message].concat();
    let trailers =
        HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from_static("0"))]);
    let body = Full::new(Bytes::from(frame)).with_trailers(async { Some(Ok(trailers)) });
    Response::builder().header("content-type", "application/grpc").body(Body::new(body)).expect("a response")
}
