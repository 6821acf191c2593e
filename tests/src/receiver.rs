//! A web server that stores what is posted to it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::wait;

/// The server. Dropping it stops it.
#[derive(Debug)]
pub struct Receiver {
    url: String,
    state: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    status: AtomicU16,
    taken: watch::Sender<Vec<Posted>>,
}

/// One request with a successful response.
#[derive(Debug, Clone)]
pub struct Posted {
    /// The request's headers.
    pub headers: HeaderMap,
    /// The request's body.
    pub body: Value,
}

impl Receiver {
    /// Starts a server that accepts all posts.
    pub async fn start() -> Self {
        let listener = TcpListener::bind(("127.0.0.1", 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let state = Arc::new(Shared { status: AtomicU16::new(200), taken: watch::Sender::new(Vec::new()) });
        let router = Router::new().route("/", post(take)).with_state(Arc::clone(&state));
        let serving = async { axum::serve(listener, router).await.expect("the server failed") };
        Self { url: format!("http://{address}/"), state, task: tokio::spawn(serving) }
    }

    /// The URL for posts.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Sets the status of all further responses.
    pub fn answer_with(&self, status: u16) {
        self.state.status.store(status, Ordering::Relaxed);
    }

    /// Waits until this many posts have been accepted, and returns all of them in order.
    pub async fn taken(&self, count: usize, limit: Duration) -> Vec<Posted> {
        let what = format!("{count} posts have been accepted");
        let taken = self.state.taken.subscribe();
        wait::until(&what, limit, async || (taken.borrow().len() >= count).then(|| taken.borrow().clone()))
            .await
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn take(State(state): State<Arc<Shared>>, headers: HeaderMap, body: String) -> StatusCode {
    let status = state.status.load(Ordering::Relaxed);
    if status < 300 {
        let body = serde_json::from_str(&body).unwrap_or_else(|error| panic!("{error}: {body}"));
        state.taken.send_modify(|taken| taken.push(Posted { headers, body }));
    }
    StatusCode::from_u16(status).expect("a status")
}
