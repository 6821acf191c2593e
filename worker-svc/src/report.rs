//! Tells schedulers that this worker is there, how loaded it is and what code it has prepared.

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
use crate::preparation::{CodeState, Preparation};
use crate::tunnel::Tunnels;

/// Reports on their way to a scheduler. One that does not take them is not waited for longer than
/// [`JOIN_TIMEOUT`].
const REPORTS_ON_THE_WAY: usize = 4;
/// How often to report when a scheduler does not say.
const DEFAULT_INTERVAL: Duration = Duration::from_secs(1);
/// How long a scheduler may take to let the worker in, or to take a report.
const JOIN_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a worker that stops waits for a scheduler to hear it.
const LEAVE_TIMEOUT: Duration = Duration::from_secs(1);

/// What there is to report. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Reporter {
    pub(crate) identity: WorkerIdentity,
    pub(crate) load: Arc<LoadMeter>,
    pub(crate) preparation: Preparation,
    pub(crate) draining: CancellationToken,
    /// Cancelled when the worker's tasks shall end.
    pub(crate) stopping: CancellationToken,
    pub(crate) joined: Joined,
}

/// How many schedulers this worker has joined. One is enough to be ready.
#[derive(Clone)]
pub(crate) struct Joined {
    /// Held while the condition is set, so that it always says what the count says.
    count: Arc<Mutex<usize>>,
    condition: Condition,
}

impl Joined {
    pub(crate) fn new(condition: Condition) -> Self {
        Self { count: Arc::default(), condition }
    }

    fn enter(&self) -> Membership<'_> {
        self.change(|count| count + 1);
        Membership(self)
    }

    fn change(&self, change: impl FnOnce(usize) -> usize) {
        let mut count = self.count.lock();
        *count = change(*count);
        self.condition.set(*count > 0);
    }
}

/// Membership at one scheduler, until it is dropped.
struct Membership<'a>(&'a Joined);

impl Drop for Membership<'_> {
    fn drop(&mut self) {
        self.0.change(|count| count - 1);
    }
}

impl Reporter {
    /// Stays a member at this scheduler until the worker stops, and then leaves it: a scheduler that only saw the
    /// stream break would report a lost worker. One that nobody can reach has `tunnels`.
    pub(crate) async fn run(self, scheduler: Channel, tunnels: Option<Tunnels>) {
        let stopping = self.stopping.clone();
        let too_late = async {
            stopping.cancelled().await;
            tokio::time::sleep(LEAVE_TIMEOUT).await;
        };
        tokio::select! {
            () = self.stay(scheduler, tunnels) => {}
            () = too_late => {}
        }
    }

    /// A lost stream is opened again, unless this worker drains.
    async fn stay(self, scheduler: Channel, tunnels: Option<Tunnels>) {
        let endpoint = scheduler.endpoint().clone();
        let mut client = MembershipClient::new(scheduler);
        let mut backoff = Backoff::reconnect();
        loop {
            let mut was_in = false;
            let entered = || {
                was_in = true;
                tracing::info!(scheduler = %endpoint, "joined");
            };
            let Err(lost) = self.join_reachably(&mut client, tunnels.as_ref(), entered).await;
            if self.is_leaving() {
                return;
            }
            if was_in {
                tracing::warn!(scheduler = %endpoint, %lost, "membership lost; joining again");
                backoff.reset();
            }
            let wait = backoff.next_wait();
            tracing::debug!(scheduler = %endpoint, %lost, ?wait, "not a member");
            if self.stopping.run_until_cancelled(tokio::time::sleep(wait)).await.is_none() {
                return;
            }
        }
    }

    /// Joins once, having opened a tunnel if there has to be one, until either is lost. A tunnel outlives
    /// the membership: a scheduler that stops still has calls there.
    async fn join_reachably(
        &self,
        client: &mut MembershipClient<Channel>,
        tunnels: Option<&Tunnels>,
        entered: impl FnOnce(),
    ) -> Result<Infallible, Error> {
        let Some(tunnels) = tunnels else { return self.join(client, entered).await };
        let tunnel = tunnels.open(client, &self.identity.id).await?;
        let mut membership = pin!(self.join(client, entered));
        tokio::select! {
            lost = &mut membership => return lost,
            _ = tunnel => {}
        }
        match self.draining.is_cancelled() {
            // It has ended its tunnels itself.
            true => membership.await,
            false => Err(Error::unavailable("the tunnel has ended")),
        }
    }

    /// Joins once and reports until the stream is lost.
    async fn join(
        &self,
        client: &mut MembershipClient<Channel>,
        entered: impl FnOnce(),
    ) -> Result<Infallible, Error> {
        let (reports, outgoing) = mpsc::channel(REPORTS_ON_THE_WAY);
        let mut changed = self.preparation.watch();
        let mut told = Told::default();
        let report = Some(self.report(&mut told));
        let hello = Hello { identity: Some(self.identity.clone()), report };
        let lost = || Error::unavailable("the scheduler ended the stream");
        let send = async |message| {
            let message = JoinRequest { message: Some(message) };
            // One that takes no report for so long is as good as gone.
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
        let _membership = self.joined.enter();
        entered();

        let every = match welcome.report_interval_ms {
            0 => DEFAULT_INTERVAL,
            ms => Duration::from_millis(ms.into()),
        };
        let mut ticks = interval(every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut drain_told = self.draining.is_cancelled();
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                Ok(()) = changed.changed() => {}
                () = self.draining.cancelled(), if !drain_told => drain_told = true,
                () = self.stopping.cancelled() => break,
                answer = answers.message() => match answer? {
                    Some(_) => continue,
                    None => return Err(lost()),
                },
            }
            send(Message::Report(self.report(&mut told))).await?;
        }
        send(Message::Report(self.report(&mut told))).await?;
        drop(reports);
        // The scheduler ends the stream once it has read all of it.
        while answers.message().await?.is_some() {}
        Err(Error::unavailable("the worker has left"))
    }

    fn is_leaving(&self) -> bool {
        self.draining.is_cancelled() || self.stopping.is_cancelled()
    }

    fn report(&self, told: &mut Told) -> Report {
        Report {
            load: Some(self.load.measure().load),
            draining: self.is_leaving(),
            ..told.news(self.preparation.states())
        }
    }
}

/// What one scheduler has been told about code.
#[derive(Debug, Default)]
struct Told(HashMap<Hash, CodeState>);

impl Told {
    /// A report of what has changed since.
    fn news(&mut self, now: HashMap<Hash, CodeState>) -> Report {
        let mut report = Report::default();
        for (hash, state) in &now {
            if self.0.get(hash) == Some(state) {
                continue;
            }
            match state {
                CodeState::Pending => {}
                CodeState::Ready => report.code_ready.push(hash.to_bytes()),
                CodeState::Failed(message) => {
                    let message = message.clone();
                    report.code_failed.push(CodeProblem { hash: hash.to_bytes(), message });
                }
            }
        }
        let dropped = self.0.iter().filter(|(hash, state)| {
            let was_told = **state != CodeState::Pending;
            was_told && now.get(*hash).is_none_or(|state| *state == CodeState::Pending)
        });
        report.code_dropped = dropped.map(|(hash, _)| hash.to_bytes()).collect();
        self.0 = now;
        report
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_news_is_told() {
        let hash = |name: &str| Hash::of(name.as_bytes());
        let bytes = |name: &str| hash(name).to_bytes();
        let mut told = Told::default();

        let states = HashMap::from([
            (hash("a"), CodeState::Ready),
            (hash("b"), CodeState::Pending),
            (hash("c"), CodeState::Failed("broken".into())),
        ]);
        let report = told.news(states.clone());
        assert_eq!(report.code_ready, [bytes("a")]);
        assert_eq!(report.code_failed, [CodeProblem { hash: bytes("c"), message: "broken".into() }]);
        assert_eq!(told.news(states), Report::default());

        let report =
            told.news(HashMap::from([(hash("a"), CodeState::Pending), (hash("b"), CodeState::Ready)]));
        assert_eq!(report.code_ready, [bytes("b")]);
        let mut dropped = report.code_dropped.clone();
        dropped.sort();
        let mut expected = [bytes("a"), bytes("c")];
        expected.sort();
        assert_eq!(dropped, expected);
    }
}
