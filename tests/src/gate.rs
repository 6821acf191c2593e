//! A web server that does not respond until a test opens it.
//!
//! A function that calls it runs until then, so that a test can keep invocations in flight without depending
//! on timing.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::routing::any;
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::wait;

/// The server. Dropping it stops it.
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
    /// Starts a closed gate.
    pub async fn start() -> Self {
        Self::start_at(Ipv4Addr::LOCALHOST.into()).await
    }

    /// Starts a closed gate at this local address.
    pub async fn start_at(address: IpAddr) -> Self {
        let listener = TcpListener::bind((address, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let state = Arc::new(Shared { waiting: watch::Sender::new(0), open: watch::Sender::new(false) });
        let router = Router::new().route("/", any(wait_until_open)).with_state(Arc::clone(&state));
        let serving = async { axum::serve(listener, router).await.expect("the server failed") };
        Self { url: format!("http://{address}/"), state, task: tokio::spawn(serving) }
    }

    /// The URL that functions call.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Waits until this many calls have arrived.
    pub async fn arrived(&self, count: usize) {
        let what = format!("{count} calls have arrived at the gate");
        let waiting = self.state.waiting.subscribe();
        wait::until(&what, Duration::from_secs(30), async || (*waiting.borrow() >= count).then_some(()))
            .await;
    }

    /// How many calls have arrived so far.
    pub fn arrivals(&self) -> usize {
        *self.state.waiting.borrow()
    }

    /// Responds to all waiting and future calls.
    pub fn open(&self) {
        self.state.open.send_replace(true);
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn wait_until_open(State(state): State<Arc<Shared>>) -> &'static str {
    state.waiting.send_modify(|waiting| *waiting += 1);
    let _ = state.open.subscribe().wait_for(|open| *open).await;
    "open"
}
