//! Membership at the schedulers: joins each of them and reports the load and the prepared code.

use std::collections::HashMap;
use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use mesh::backoff::Backoff;
use mesh::hash::Hash;
use mesh::health::Condition;
use mesh::{Channel, Error};
use parking_lot::Mutex;
use proto::scheduler::v1::join_request::Message;
use proto::scheduler::v1::membership_client::MembershipClient;
use proto::scheduler::v1::{CodeProblem, Hello, JoinRequest, Report, WorkerIdentity};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;

use crate::load::LoadMeter;
use crate::preparation::{CodeChanges, CodeState, Preparation};
use crate::tunnel::Tunnels;

/// Reports that are queued for a scheduler.
const QUEUED_REPORTS: usize = 4;
/// The report interval if a scheduler sets none.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a scheduler may take to accept the worker, or a report.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a worker that stops waits until a scheduler has got its last report.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// Joins schedulers and reports to them. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) identity: WorkerIdentity,
    pub(crate) load: Arc<LoadMeter>,
    pub(crate) preparation: Preparation,
    pub(crate) draining: CancellationToken,
    /// Cancelled when the worker's tasks have to end.
    pub(crate) stopping: CancellationToken,
    pub(crate) memberships: Memberships,
}

/// Counts the schedulers that this worker has joined. It is ready with one.
#[derive(Clone)]
pub(crate) struct Memberships {
    /// Locked while the condition is set, so that the two always agree.
    count: Arc<Mutex<usize>>,
    condition: Condition,
}

impl Memberships {
    pub(crate) fn new(condition: Condition) -> Self {
        Self { count: Arc::default(), condition }
    }

    fn begin(&self) -> Membership<'_> {
        self.change(|count| count + 1);
        Membership(self)
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut count = self.count.lock();
        *count = change(*count);
        self.condition.set(*count > 0);
    }
}

/// Membership at one scheduler. It ends when this is dropped.
struct Membership<'a>(&'a Memberships);

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.0.change(|count| count - 1);
    }
}

impl Reporter {
    /// Is a member at this scheduler until the worker stops, and then leaves: a scheduler whose stream just
    /// breaks reports a lost worker. `tunnels` are for a worker that schedulers cannot reach.
    pub(crate) async fn run(self, scheduler: Channel, tunnels: Option<Tunnels>) {
        let stopping = self.stopping.clone();
        let leave_timeout = async {
            stopping.cancelled().await;
            tokio::time::sleep(LEAVE_TIMEOUT).await;
        };
        tokio::select! {
            () = self.keep_joined(scheduler, tunnels) => {}
            () = leave_timeout => {}
        }
    }

    /// Joins again whenever the stream is lost, unless the worker is leaving.
    async fn keep_joined(self, scheduler: Channel, tunnels: Option<Tunnels>) {
        let endpoint = scheduler.endpoint().clone();
        let mut client = MembershipClient::new(scheduler);
        let mut backoff = Backoff::reconnect();
        loop {
            let mut had_joined = false;
            let on_joined = || {
                had_joined = true;
                tracing::info!(scheduler = %endpoint, "joined");
            };
            let Err(error) = self.join_with_tunnel(&mut client, tunnels.as_ref(), on_joined).await;
            if self.is_leaving() {
                return;
            }
            if had_joined {
                tracing::warn!(scheduler = %endpoint, %error, "membership lost; joining again");
                backoff.reset();
            }
            let wait = backoff.next_wait();
            tracing::debug!(scheduler = %endpoint, %error, ?wait, "cannot join");
            if self.stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Joins once, through a tunnel if this worker needs one, until the stream or the tunnel is lost. A tunnel
    /// outlives the membership: a scheduler that stops still has calls in it.
    async fn join_with_tunnel(
        &self,
        client: &mut MembershipClient<Channel>,
        tunnels: Option<&Tunnels>,
        on_joined: impl FnOnce(),
    ) -> Result<Infallible, Error> {
        let Some(tunnels) = tunnels else { return self.join(client, on_joined).await };
        let tunnel = tunnels.open(client, &self.identity.id).await?;
        let mut membership = pin!(self.join(client, on_joined));
        tokio::select! {
            lost = &mut membership => return lost,
            _ = tunnel => {}
        }
        match self.draining.is_cancelled() {
            // This worker has ended its tunnels itself.
            true => membership.await,
            false => Err(Error::unavailable("the tunnel was closed")),
        }
    }

    /// Joins once and reports until the stream is lost.
    async fn join(
        &self,
        client: &mut MembershipClient<Channel>,
        on_joined: impl FnOnce(),
    ) -> Result<Infallible, Error> {
        let (reports, outgoing) = mpsc::channel(QUEUED_REPORTS);
        let mut changed = self.preparation.watch();
        let mut reported = ReportedCode::new(&self.preparation);
        let report = Some(self.report(&mut reported));
        let hello = Hello { identity: Some(self.identity.clone()), report };
        let lost = || Error::unavailable("the scheduler closed the stream");
        let send = async |message| {
            let message = JoinRequest { message: Some(message) };
            // A scheduler that takes no report for so long counts as lost.
            let sent = tokio::time::timeout(JOIN_TIMEOUT, reports.send(message)).await;
            sent.map_err(|_| lost())?.map_err(|_| lost())
        };
        send(Message::Hello(hello)).await?;

        let welcome = async {
            let mut answers = client.join(ReceiverStream::new(outgoing)).await?.into_inner();
            let welcome = answers.message().await?.ok_or_else(lost)?;
            Ok::<_, Error>((answers, welcome))
        };
        let (mut answers, welcome) = tokio::time::timeout(JOIN_TIMEOUT, welcome)
            .await
            .map_err(|_| Error::unavailable("the scheduler did not answer in time"))??;
        let _membership = self.memberships.begin();
        on_joined();

        let every = match welcome.report_interval_ms {
            0 => DEFAULT_INTERVAL,
            ms => Duration::from_millis(ms.into()),
        };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drain_reported = self.draining.is_cancelled();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = changed.changed() => {}
                () = self.draining.cancelled(), if !drain_reported => drain_reported = true,
                () = self.stopping.cancelled() => break,
                answer = answers.message() => match answer? {
                    Some(_) => continue,
                    None => return Err(lost()),
                },
            }
            send(Message::Report(self.report(&mut reported))).await?;
        }
        send(Message::Report(self.report(&mut reported))).await?;
        drop(reports);
        // The scheduler closes the stream once it has read all reports.
        while answers.message().await?.is_some() {}
        Err(Error::unavailable("the worker has left"))
    }

    fn is_leaving(&self) -> bool {
        self.draining.is_cancelled() || self.stopping.is_cancelled()
    }

    fn report(&self, reported: &mut ReportedCode) -> Report {
        let changed = self.preparation.take(&reported.changes);
        let report = reported.report(changed);
        Report { load: Some(self.load.measure().load), draining: self.is_leaving(), ..report }
    }
}

/// What one scheduler knows of the code.
#[derive(Debug)]
struct ReportedCode {
    changes: CodeChanges,
    /// The states that were last reported.
    states: HashMap<Hash, CodeState>,
}

impl ReportedCode {
    /// Nothing is reported yet.
    fn new(preparation: &Preparation) -> Self {
        Self { changes: preparation.changes(), states: HashMap::new() }
    }

    /// A report of what has changed since then. It costs nothing if nothing has.
    fn report(&mut self, changed: Vec<(Hash, Option<CodeState>)>) -> Report {
        let mut report = Report::default();
        for (hash, state) in changed {
            let state = state.filter(CodeState::is_reported);
            let former = match &state {
                Some(state) => self.states.insert(hash, state.clone()),
                None => self.states.remove(&hash),
            };
            match state {
                state if state == former => {}
                Some(CodeState::Failed(message)) => {
                    report.code_failed.push(CodeProblem { hash: hash.to_bytes(), message });
                }
                Some(_) => report.code_ready.push(hash.to_bytes()),
                None => report.code_dropped.push(hash.to_bytes()),
            }
        }
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_changes_are_reported() {
        let hash = |name: &str| Hash::of(name.as_bytes());
        let bytes = |name: &str| hash(name).to_bytes();
        let mut reported = ReportedCode::new(&Preparation::new());

        let states = vec![
            (hash("a"), Some(CodeState::Ready)),
            (hash("b"), Some(CodeState::Pending)),
            (hash("c"), Some(CodeState::Failed("broken".into()))),
            (hash("d"), Some(CodeState::Ready)),
            (hash("e"), None),
        ];
        let report = reported.report(states.clone());
        assert_eq!(report.code_ready, [bytes("a"), bytes("d")]);
        assert_eq!(report.code_failed, [CodeProblem { hash: bytes("c"), message: "broken".into() }]);
        assert!(report.code_dropped.is_empty());
        assert_eq!(reported.report(states), Report::default());

        let report = reported.report(vec![
            (hash("a"), Some(CodeState::Pending)),
            (hash("b"), Some(CodeState::Ready)),
            (hash("c"), None),
            (hash("d"), Some(CodeState::Deferred)),
        ]);
        assert_eq!(report.code_ready, [bytes("b")]);
        assert_eq!(report.code_dropped, [bytes("a"), bytes("c"), bytes("d")]);
    }
}
