//! A steady load of calls through REST.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use http::Method;
use parking_lot::Mutex;
use serde_json::json;
use tokio::task::{JoinHandle, JoinSet};

use crate::client::{Answer, Upload};
use crate::{Client, guests};

/// The number of invocations per second. Of each other kind there is one call per second.
const PER_SECOND: u32 = 20;

/// A kind of call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum CallKind {
    /// Invokes a function without a sink.
    Invoke,
    /// Invokes a function with a sink.
    InvokeWithSink,
    /// Lists functions.
    Read,
    /// Updates a function.
    Write,
}

impl CallKind {
    /// All kinds.
    pub(super) const ALL: [Self; 4] = [Self::Invoke, Self::InvokeWithSink, Self::Read, Self::Write];

    /// Its name in the table.
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::Invoke => "invocation",
            Self::InvokeWithSink => "invocation with a sink",
            Self::Read => "list of functions",
            Self::Write => "update of a function",
        }
    }
}

/// One call, after its end.
#[derive(Debug, Clone)]
pub(super) struct Call {
    pub(super) kind: CallKind,
    /// The number of its second, which is the id of the result of a function with a sink.
    pub(super) number: u32,
    pub(super) sent: Instant,
    pub(super) took: Duration,
    /// Status and message.
    pub(super) failure: Option<String>,
}

/// The load. It does not wait for the responses before it sends more.
pub(super) struct Calls {
    ended: Arc<Mutex<Vec<Call>>>,
    stopping: Arc<AtomicBool>,
    task: JoinHandle<()>,
}

impl Calls {
    /// Starts the load.
    pub(super) fn start(user: &Client) -> Self {
        let (ended, stopping) = (Arc::new(Mutex::new(Vec::new())), Arc::new(AtomicBool::new(false)));
        let task = tokio::spawn(send(user.clone(), Arc::clone(&ended), Arc::clone(&stopping)));
        Self { ended, stopping, task }
    }

    /// The number of calls that were sent since `start` and have ended, and how many of them have failed.
    pub(super) fn since(&self, start: Instant) -> (usize, usize) {
        let ended = self.ended.lock();
        let ended = ended.iter().filter(|call| call.sent >= start);
        ended.fold((0, 0), |(all, failed), call| (all + 1, failed + usize::from(call.failure.is_some())))
    }

    /// Stops sending and returns all calls when they have ended.
    pub(super) async fn end(self) -> Vec<Call> {
        self.stopping.store(true, Ordering::Relaxed);
        self.task.await.expect("the load does not panic");
        std::mem::take(&mut self.ended.lock())
    }
}

async fn send(user: Client, ended: Arc<Mutex<Vec<Call>>>, stopping: Arc<AtomicBool>) {
    let mut ticks = tokio::time::interval(Duration::from_secs(1) / PER_SECOND);
    let mut calls = JoinSet::new();
    for tick in 0.. {
        if stopping.load(Ordering::Relaxed) {
            break;
        }
        ticks.tick().await;
        let (number, step) = (tick / PER_SECOND, tick % PER_SECOND);
        let other = match step {
            0 => Some(CallKind::InvokeWithSink),
            7 => Some(CallKind::Read),
            14 => Some(CallKind::Write),
            _ => None,
        };
        for kind in [Some(CallKind::Invoke), other].into_iter().flatten() {
            let (user, ended) = (user.clone(), Arc::clone(&ended));
            calls.spawn(async move {
                let call = call(&user, kind, number).await;
                ended.lock().push(call);
            });
        }
        while calls.try_join_next().is_some() {}
    }
    while calls.join_next().await.is_some() {}
}

async fn call(user: &Client, kind: CallKind, number: u32) -> Call {
    let invoke = |function: &str, args| {
        user.request(Method::POST, &format!("/v1/fn/_/{function}")).json(&json!({ "args": args }))
    };
    let request = match kind {
        CallKind::Invoke => invoke("plain", json!({ "name": "N" })),
        CallKind::InvokeWithSink => invoke("with_sink", json!({ "id": number })),
        CallKind::Read => user.request(Method::GET, "/v1/fn/_"),
        CallKind::Write => {
            let upload = Upload::function("updated", &guests::hello());
            user.request(Method::PUT, "/v1/fn/_/updated").multipart(upload.form())
        }
    };
    let sent = Instant::now();
    let answer = user.try_send(request).await;
    let took = sent.elapsed();
    let failure = match answer {
        Ok(answer) if answer.status == 200 => None,
        Ok(answer) => Some(describe(&answer)),
        Err(error) => Some(format!("no response: {error}")),
    };
    Call { kind, number, sent, took, failure }
}

fn describe(answer: &Answer) -> String {
    let body = serde_json::from_str::<serde_json::Value>(&answer.text).unwrap_or_default();
    match (body["errors"]["detail"].as_str(), body["errors"]["message"].as_str()) {
        (Some(detail), Some(message)) => format!("{} {detail} ({message})", answer.status),
        (Some(detail), None) => format!("{} {detail}", answer.status),
        (None, _) => format!("{} {}", answer.status, answer.text),
    }
}
