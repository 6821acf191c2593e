//! Workers that join, report and leave: applies what their streams say to the cluster.

use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use mesh::deadline::Deadline;
use mesh::endpoint::Endpoint;
use mesh::metrics::read_gauges;
use mesh::{Caller, Channel, Dialer, Error, MAX_MESSAGE_BYTES, Reason};
use parking_lot::{Mutex, MutexGuard};
use prometheus::Registry;
use proto::Execute;
use proto::scheduler::v1::{CodeFailure, Hello, Report};
use proto::worker::v1::logs_client::LogsClient;
use proto::worker::v1::{ExecuteRequest, ExecuteResponse};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use uuid::Uuid;

use crate::cluster::{Cluster, CodeState, Member, SessionId};
use crate::config::Config;
use crate::metrics::Metrics;
use crate::policy::Worker;
use crate::tunnels::{OpenTunnel, Tunnels};

/// How a worker is reached. Cheap to clone, as are the clients that it makes.
#[derive(Debug, Clone)]
pub struct Contact(Channel);

impl Contact {
    /// Runs a function there.
    pub async fn execute(
        &self,
        request: ExecuteRequest,
        deadline: Deadline,
    ) -> Result<tonic::Response<ExecuteResponse>, tonic::Status> {
        self.0.unary::<Execute>(request, deadline, &Caller::Service).await
    }

    /// A client that reads the logs of functions there.
    pub fn logs(&self) -> LogsClient<Channel> {
        LogsClient::new(self.0.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
    }
}

/// A worker whose report is overdue for this time, and for the time between two reports, is removed.
const OVERDUE: Duration = Duration::from_secs(1);

/// The cluster, shared by the streams that feed it and the invocations that use it.
#[derive(Debug)]
pub struct Members {
    cluster: Mutex<Cluster<Contact>>,
    tunnels: Arc<Tunnels>,
    /// Signalled when a worker joins, leaves or reports.
    changed: watch::Sender<()>,
    /// The number of workers that have joined so far.
    joined: watch::Sender<u64>,
    /// Until then, workers that were there before this scheduler started may still join.
    settled_at: tokio::time::Instant,
    report_interval: Duration,
    dialer: Dialer,
    metrics: Metrics,
}

/// The session of a worker, from its `Hello` to the end of its stream.
#[derive(Debug)]
pub struct Session {
    name: String,
    id: SessionId,
}

/// The joins that a scheduler expects which has just started.
#[derive(Debug)]
pub struct ExpectedJoins {
    joined: watch::Receiver<u64>,
    until: tokio::time::Instant,
}

impl ExpectedJoins {
    /// Waits for the next join, but not beyond `deadline`. False: there was none.
    pub async fn next(&mut self, deadline: Deadline) -> bool {
        let until = self.until.min(deadline.instant());
        tokio::time::timeout_at(until, self.joined.changed()).await.is_ok_and(|joined| joined.is_ok())
    }
}

impl Members {
    /// A new scheduler, without workers.
    pub fn new(config: &Config, dialer: Dialer, metrics: Metrics) -> Self {
        let join_grace = Duration::from_millis(config.join_grace_ms.into());
        Self {
            cluster: Mutex::new(Cluster::new(Uuid::now_v7().to_string())),
            tunnels: Arc::default(),
            changed: watch::Sender::new(()),
            joined: watch::Sender::new(0),
            settled_at: tokio::time::Instant::now() + join_grace,
            report_interval: Duration::from_millis(config.report_interval_ms.into()),
            dialer,
            metrics,
        }
    }

    /// The cluster as it is now. Do not hold it across an await.
    pub fn cluster(&self) -> MutexGuard<'_, Cluster<Contact>> {
        self.cluster.lock()
    }

    /// How often workers report.
    pub fn report_interval(&self) -> Duration {
        self.report_interval
    }

    /// A worker behind NAT has opened a tunnel; `connection` is its near end.
    pub async fn open_tunnel<C>(&self, worker_id: String, connection: C) -> Result<OpenTunnel, Error>
    where
        C: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let channel = self.dialer.dial_tunnel(&worker_id, connection).await?;
        Ok(self.tunnels.opened(worker_id, channel))
    }

    /// A worker joins.
    pub fn join(&self, hello: Hello) -> Result<Session, Error> {
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
        let id = self.cluster().join(identity, report, Contact(channel), Instant::now());
        self.count_change("joined");
        self.joined.send_modify(|joined| *joined += 1);
        self.signal();
        Ok(Session { name, id })
    }

    /// A worker reports. False: its session is over.
    pub fn report(&self, session: &Session, report: Report) -> bool {
        let is_in = self.cluster().report(&session.name, session.id, report, Instant::now());
        self.signal();
        is_in
    }

    /// A worker's stream has ended.
    pub fn leave(&self, session: &Session) {
        let left = self.cluster().leave(&session.name, session.id);
        match left {
            None => return,
            Some(worker) if worker.draining => {
                tracing::info!(worker = session.name, "worker left");
                self.count_change("left");
            }
            Some(_) => {
                tracing::warn!(worker = session.name, "worker is lost");
                self.count_change("lost");
            }
        }
        self.signal();
    }

    /// Removes workers whose stream is open but silent. Runs forever.
    pub async fn expire_silent(&self) {
        let timeout = self.report_interval + self.report_interval.max(OVERDUE);
        loop {
            let (now, oldest) = (Instant::now(), self.cluster().oldest_report());
            let wait = oldest.map_or(timeout, |oldest| (oldest + timeout).saturating_duration_since(now));
            tokio::time::sleep(wait).await;
            if now.elapsed() > wait + OVERDUE {
                // This process was stopped itself, and has to read what the workers have reported since then.
                tokio::time::sleep(self.report_interval).await;
            }
            let silent = self.cluster().expire(timeout, Instant::now());
            for worker in &silent {
                tracing::warn!(worker = &**worker, "worker does not report and is removed");
                self.count_change("lost");
            }
            if !silent.is_empty() {
                self.signal();
            }
        }
    }

    /// Waits until each worker has prepared `code` or failed to. Names those that have, and those that failed
    /// with the reason. Cancel safe.
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

    /// The workers that have prepared `code`, those that failed to, and those that have not reported on it.
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

    /// Changes whenever a worker joins.
    pub fn joins(&self) -> watch::Receiver<u64> {
        self.joined.subscribe()
    }

    /// The joins to come, if this scheduler has just started.
    pub fn expected_joins(&self) -> Option<ExpectedJoins> {
        let is_settled = tokio::time::Instant::now() >= self.settled_at;
        (!is_settled).then(|| ExpectedJoins { joined: self.joins(), until: self.settled_at })
    }

    fn count_change(&self, change: &str) {
        self.metrics.worker_changes.with_label_values(&[change]).inc();
    }

    /// Registers metrics of each worker.
    pub fn show(self: &Arc<Self>, registry: &Registry) {
        type Read = fn(&Worker, &Member<Contact>) -> f64;
        let gauges: [(&str, &str, Read); 3] = [
            (
                "funless_scheduler_worker_ready",
                "1 if the worker accepts invocations, 0 if it drains.",
                |worker, _| f64::from(u8::from(!worker.draining)),
            ),
            (
                "funless_scheduler_worker_in_flight",
                "Invocations that this scheduler has placed on the worker and that have not ended.",
                |_, member| f64::from(member.in_flight()),
            ),
            (
                "funless_scheduler_worker_reservable_bytes",
                "Memory that can still be reserved on the worker; NaN if unknown.",
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
