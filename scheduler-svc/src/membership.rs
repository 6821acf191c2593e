//! Workers that join, report and leave: what the streams say, brought into the cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh::channel::Endpoint;
use mesh::metrics::read_gauges;
use mesh::{Channel, Dialer, Error, MAX_MESSAGE_BYTES, Reason};
use parking_lot::{Mutex, MutexGuard};
use prometheus::Registry;
use proto::scheduler::v1::{CodeFailure, Hello, Report};
use proto::worker::v1::execution_client::ExecutionClient;
use proto::worker::v1::logs_client::LogsClient;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use uuid::Uuid;

use crate::cluster::{Cluster, CodeState, Member, Session};
use crate::metrics::Metrics;
use crate::policy::Worker;
use crate::tunnels::{OpenTunnel, Tunnels};

/// How a worker is called. Cheap to clone; so are the clients that it makes.
#[derive(Debug, Clone)]
pub struct Contact(Channel);

impl Contact {
    /// To run functions there.
    pub fn execution(&self) -> ExecutionClient<Channel> {
        ExecutionClient::new(self.0.clone())
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES)
    }

    /// To read there what functions have logged.
    pub fn logs(&self) -> LogsClient<Channel> {
        LogsClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// Reports that a worker may miss before it is out.
const MISSED_REPORTS: u32 = 3;

/// The cluster, shared by the streams that feed it and the invocations that use it.
#[derive(Debug)]
pub struct Members {
    cluster: Mutex<Cluster<Contact>>,
    tunnels: Arc<Tunnels>,
    /// Signalled whenever a worker comes, goes or reports.
    changed: watch::Sender<()>,
    /// Counts the workers that have come.
    joined: watch::Sender<u64>,
    report_interval: Duration,
    dialer: Dialer,
    metrics: Metrics,
}

/// One stay of one worker.
#[derive(Debug)]
pub struct Stay {
    name: String,
    session: Session,
}

impl Members {
    /// The workers of a new scheduler. Nobody is in yet.
    pub fn new(report_interval: Duration, dialer: Dialer, metrics: Metrics) -> Self {
        let cluster = Mutex::new(Cluster::new(Uuid::now_v7().to_string()));
        let (tunnels, changed, joined) = (Arc::default(), watch::Sender::new(()), watch::Sender::new(0));
        Self { cluster, tunnels, changed, joined, report_interval, dialer, metrics }
    }

    /// The cluster as it is now. Held for moments only, never across an await.
    pub fn cluster(&self) -> MutexGuard<'_, Cluster<Contact>> {
        self.cluster.lock()
    }

    /// How often workers report.
    pub fn report_interval(&self) -> Duration {
        self.report_interval
    }

    /// A worker that nobody can reach has opened a tunnel, which ends here in `connection`.
    pub async fn open_tunnel<C>(&self, worker_id: String, connection: C) -> Result<OpenTunnel, Error>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let channel = self.dialer.dial_tunnel(&worker_id, connection).await?;
        Ok(self.tunnels.opened(worker_id, channel))
    }

    /// A worker comes in.
    pub fn join(&self, hello: Hello) -> Result<Stay, Error> {
        let refuse = |message: String| Error::new(Reason::BadRequest, message);
        let identity = hello.identity.ok_or_else(|| refuse("hello: expected an identity".into()))?;
        if identity.name.is_empty() {
            return Err(refuse("hello: expected a name".into()));
        }
        let channel = match identity.address.as_str() {
            "" => self.tunnels.to(&identity.id).ok_or_else(|| {
                Error::unavailable(
                    "hello: expected an address, or a tunnel that this worker has opened before",
                )
            })?,
            address => self.dialer.dial(&address.parse::<Endpoint>().map_err(refuse)?)?,
        };
        let name = identity.name.clone();
        tracing::info!(worker = name, id = identity.id, address = %channel.endpoint(), "worker joined");
        let report = hello.report.unwrap_or_default();
        let session = self.cluster().join(identity, report, Contact(channel), Instant::now());
        self.count_change("joined");
        self.joined.send_modify(|joined| *joined += 1);
        self.signal();
        Ok(Stay { name, session })
    }

    /// A worker reports. False: its stay is over.
    pub fn report(&self, stay: &Stay, report: Report) -> bool {
        let is_in = self.cluster().report(&stay.name, stay.session, report, Instant::now());
        self.signal();
        is_in
    }

    /// A worker's stream has ended.
    pub fn leave(&self, stay: &Stay) {
        let left = self.cluster().leave(&stay.name, stay.session);
        match left {
            None => return,
            Some(worker) if worker.draining => {
                tracing::info!(worker = stay.name, "worker left");
                self.count_change("left");
            }
            Some(_) => {
                tracing::warn!(worker = stay.name, "worker is lost");
                self.count_change("lost");
            }
        }
        self.signal();
    }

    /// Takes out workers whose stream is open but silent. Runs for ever.
    pub async fn expire_silent(&self) {
        let mut ticks = tokio::time::interval(self.report_interval);
        loop {
            ticks.tick().await;
            let silent = self.cluster().expire(self.report_interval * MISSED_REPORTS, Instant::now());
            for worker in &silent {
                tracing::warn!(worker = &**worker, "worker has missed three reports and is out");
                self.count_change("lost");
            }
            if !silent.is_empty() {
                self.signal();
            }
        }
    }

    /// Waits until each worker has `code` prepared or has failed to. Names the former, and the latter
    /// with the reason; when the future is dropped before, nothing is lost.
    pub async fn await_code(&self, code: &Bytes) -> (Vec<String>, Vec<CodeFailure>) {
        let mut changes = self.changed.subscribe();
        loop {
            changes.borrow_and_update();
            let (ready, failed, waiting) = self.code_states(code);
            if waiting.is_empty() || changes.changed().await.is_err() {
                return (ready, failed);
            }
        }
    }

    /// Who has `code` prepared, who has failed to, and who has not said.
    pub fn code_states(&self, code: &Bytes) -> (Vec<String>, Vec<CodeFailure>, Vec<String>) {
        let (mut ready, mut failed, mut waiting) = (Vec::new(), Vec::new(), Vec::new());
        for (worker, member) in self.cluster().members().filter(|(worker, _)| !worker.draining) {
            let name = worker.name.to_string();
            match member.code_state(worker, code) {
                CodeState::Ready => ready.push(name),
                CodeState::Failed(message) => failed.push(CodeFailure { worker: name, message }),
                CodeState::Unknown => waiting.push(name),
            }
        }
        (ready, failed, waiting)
    }

    /// Tells when a worker has come.
    pub fn joins(&self) -> watch::Receiver<u64> {
        self.joined.subscribe()
    }

    fn count_change(&self, change: &str) {
        self.metrics.worker_changes.with_label_values(&[change]).inc();
    }

    /// Shows in `registry` what is known of each worker that is in.
    pub fn show(self: &Arc<Self>, registry: &Registry) {
        type Read = fn(&Worker, &Member<Contact>) -> f64;
        let gauges: [(&str, &str, Read); 3] = [
            (
                "funless_scheduler_worker_ready",
                "1: the worker takes invocations. 0: it drains.",
                |worker, _| f64::from(u8::from(!worker.draining)),
            ),
            (
                "funless_scheduler_worker_in_flight",
                "Invocations that this scheduler has sent to the worker and that have not ended.",
                |_, member| f64::from(member.in_flight()),
            ),
            (
                "funless_scheduler_worker_reservable_bytes",
                "Memory that can still be reserved on the worker for functions; NaN when it is not known.",
                |worker, _| worker.memory.map_or(f64::NAN, |memory| memory.available as f64),
            ),
        ];
        for (name, help, read) in gauges {
            let members = Arc::clone(self);
            read_gauges(registry, name, help, &["worker"], move || {
                let cluster = members.cluster();
                let of =
                    |(worker, member): (&Worker, _)| (vec![worker.name.to_string()], read(worker, member));
                cluster.members().map(of).collect()
            });
        }
    }

    fn signal(&self) {
        let cluster = self.cluster();
        let draining = cluster.workers().iter().filter(|worker| worker.draining).count();
        let ready = cluster.workers().len() - draining;
        drop(cluster);
        for (state, count) in [("ready", ready), ("draining", draining)] {
            self.metrics.workers.with_label_values(&[state]).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        self.changed.send_replace(());
    }
}
