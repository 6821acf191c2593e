//! A web server that answers when a test lets it.
//!
//! A function that calls it runs exactly until then, so that a test can have invocations in flight
//! without waiting for a time.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::wait;

/// The server. Its waiting clients are let go when it is dropped.
#[derive(Debug)]
pub struct Gate {
    url: String,
    state: Arc<Shared>,
    task: tokio::task::JoinHandle<()>,
}

#[derive(Debug)]
struct Shared {
    waiting: watch::Sender<usize>,
    open: watch::Sender<bool>,
}

impl Gate {
    /// Starts it, closed.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts it at this address of the machine, closed.
    pub async fn start_at(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(Shared { waiting: watch::Sender::new(0), open: watch::Sender::new(false) });
        let router = Router::new().route("/", any(wait_for_it)).with_state(Arc::clone(&state));
        let serving = async { axum::serve(listener, router).await.expect("it serves") };
        Self { url: format!("http://{address}/"), state, task: tokio::spawn(serving) }
    }

    /// Where a function calls it.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until so many clients have arrived.
    pub async fn arrived(&self, count: usize) {
        let what = format!("{count} calls have arrived at the gate");
        let waiting = self.state.waiting.subscribe();
        wait::until(&what, Duration::from_secs(30), async || (*waiting.borrow() >= count).then_some(()))
            .await;
    }

    /// Answers all that wait and all that come.
    pub fn open(&self) {
        self.state.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wait_for_it(State(state): State<Arc<Shared>>) -> &'static str {
    state.waiting.send_modify(|waiting| *waiting += 1);
    let _ = state.open.subscribe().wait_for(|open| *open).await;
    "open"
}
