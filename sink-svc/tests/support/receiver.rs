//! A web server that results are posted to, and that can be stopped.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use http::{HeaderMap, StatusCode};
use mesh::config::Listen;
use mesh::listener::Listener;
use parking_lot::Mutex;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

type Answer = dyn Fn(&str) -> Response + Send + Sync;

/// One request.
#[derive(Debug, Clone)]
pub struct Received {
    pub headers: HeaderMap,
    pub body: String,
}

/// A receiver of results.
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
}

struct Shared {
    /// The requests that were answered with success.
    taken: Mutex<Vec<Received>>,
    /// The number of requests.
    requests: Mutex<usize>,
    answer: Mutex<Arc<Answer>>,
}

impl Receiver {
    /// Starts a receiver that accepts everything.
    pub async fn start() -> Self {
        let answer: Arc<Answer> = Arc::new(|_| StatusCode::NO_CONTENT.into_response());
        let shared =
            Shared { taken: Mutex::default(), requests: Mutex::default(), answer: Mutex::new(answer) };
        let mut receiver = Self { shared: Arc::new(shared), address: ([127, 0, 0, 1], 0).into(), task: None };
        receiver.listen().await;
        receiver
    }

    pub fn url(&self) -> String {
        format!("http://{}/in", self.address)
    }

    /// Sets how requests are answered, depending on the body.
    pub fn answer(&self, answer: impl Fn(&str) -> Response + Send + Sync + 'static) {
        *self.shared.answer.lock() = Arc::new(answer);
    }

    /// The requests that were answered with success.
    pub fn taken(&self) -> Vec<Received> {
        self.shared.taken.lock().clone()
    }

    /// The bodies of the requests that were answered with success.
    pub fn bodies(&self) -> Vec<String> {
        self.taken().into_iter().map(|received| received.body).collect()
    }

    /// The number of requests.
    pub fn requests(&self) -> usize {
        *self.shared.requests.lock()
    }

    /// Stops listening.
    pub async fn stop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
            let _ = task.await;
        }
    }

    /// Listens on the same address as before.
    pub async fn listen(&mut self) {
        let listener = Listener::bind(&Listen::Tcp(self.address)).await.expect("a free port");
        let endpoint = listener.endpoint().expect("a bound port").to_string();
        self.address = endpoint.trim_start_matches("http://").parse().expect("an address");
        let router = Router::new().fallback(receive).with_state(Arc::clone(&self.shared));
        let serving = listener.serve(router, CancellationToken::new(), Duration::from_secs(1));
        self.task = Some(tokio::spawn(serving));
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(task) = self.task.take() {
            task.abort();
        }
    }
}

async fn receive(State(shared): State<Arc<Shared>>, headers: HeaderMap, body: Bytes) -> Response {
    let body = String::from_utf8(body.to_vec()).expect("text");
    *shared.requests.lock() += 1;
    let answer = Arc::clone(&*shared.answer.lock());
    let response = answer(&body);
    if response.status() == StatusCode::REQUEST_TIMEOUT {
        // Never answers.
        std::future::pending::<()>().await;
    }
    if response.status().is_success() {
        shared.taken.lock().push(Received { headers, body });
    }
    response
}
