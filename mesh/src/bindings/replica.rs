//! A replica of a service that runs bindings.

use std::collections::{HashMap, HashSet};
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt as _, Stream, StreamExt as _};
use proto::registry::v1::bindings_client::BindingsClient;
use proto::registry::v1::{
    BindingRole, FindHoldersRequest, FunctionBinding, HoldBindingsRequest, HoldBindingsResponse,
    ReleaseBindingsRequest,
};
use tokio::sync::{Notify, watch};
use tokio::task::{self, JoinError, JoinSet};
use tokio::time::{Instant, MissedTickBehavior};
use tokio_util::sync::CancellationToken;
use tonic::Status;
use uuid::Uuid;

use super::status::{Report, StatusBoard};
use crate::MAX_MESSAGE_BYTES;
use crate::backoff::Backoff;
use crate::channel::Channel;
use crate::deadline::Deadline;
use crate::endpoint::Endpoint;
use crate::error::{Error, Reason};
use crate::follow;
use crate::health::Condition;

/// How long a call to the registry may take.
const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// How long to wait for the registry before the duration of leases is known.
const FIRST_RENEWAL: Duration = Duration::from_secs(1);
/// How often leases are renewed within their duration.
const RENEWALS: u32 = 3;
/// The minimum interval of renewals, however short leases are.
const SHORTEST_RENEWAL: Duration = Duration::from_millis(10);
/// After how long a binding that ends by itself is restarted.
const RESTART_AFTER: Duration = Duration::from_secs(1);

/// Why a binding stops running here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It continues on another replica, or here with changed parameters: its source keeps its pending events.
    HandOver,
    /// It was removed: its source need not keep pending events.
    Removed,
}

/// A binding that this replica holds, as seen by the task that runs it.
#[derive(Debug)]
pub struct HeldBinding {
    end: watch::Receiver<Option<End>>,
    lease_ends: watch::Receiver<Instant>,
    /// The registry's revision of this version of the binding. A catalog at this revision has its function.
    pub revision: u64,
    /// Reports the binding's status.
    pub report: Report,
}

impl HeldBinding {
    /// Waits until the binding should stop, and returns why.
    pub async fn ended(&self) -> End {
        stop_reason(self.end.clone()).await
    }

    /// Waits until this replica is known to hold the binding's lease. A lease that could not be renewed may be another
    /// replica's: existing connections may stay, but no new ones should be opened.
    pub async fn leased(&self) {
        let mut lease_ends = self.lease_ends.clone();
        let is_leased = lease_ends.wait_for(|ends| *ends > Instant::now()).await.is_ok();
        if !is_leased {
            // The replica has stopped, and the lease is not renewed.
            std::future::pending().await
        }
    }
}

/// Waits for the reason to stop a binding.
async fn stop_reason(mut end: watch::Receiver<Option<End>>) -> End {
    // The replica has stopped without a reason.
    end.wait_for(Option::is_some).await.ok().and_then(|end| *end).unwrap_or(End::HandOver)
}

/// Runs the bindings that the registry assigns to this replica.
#[derive(Debug)]
pub struct Replica {
    role: BindingRole,
    /// Unique for each start.
    name: String,
    address: Endpoint,
    registry: Channel,
    board: StatusBoard,
    lease_ends: watch::Sender<Instant>,
}

/// The bindings that run here.
struct HeldBindings {
    tasks: JoinSet<()>,
    by_id: HashMap<String, Running>,
    /// The registry's revision as of which they are known; 0 for none.
    known_revision: u64,
    /// How often the leases are renewed.
    renewal: Duration,
}

struct Running {
    binding: FunctionBinding,
    end: watch::Sender<Option<End>>,
    task: task::Id,
}

impl Replica {
    /// A replica that other replicas reach at `address`.
    pub fn new(role: BindingRole, registry: Channel, address: Endpoint) -> Self {
        let name = Uuid::now_v7().to_string();
        let lease_ends = watch::Sender::new(Instant::now());
        Self { role, name, address, registry, board: StatusBoard::default(), lease_ends }
    }

    /// The statuses of the bindings that run here.
    pub fn board(&self) -> StatusBoard {
        self.board.clone()
    }

    /// Runs each assigned binding with `run`, which must end soon after [`HeldBinding::ended`]; one that ends earlier is
    /// restarted. When `stopping` is cancelled, the bindings are released. `following` holds while the registry is
    /// reachable, `holding` while it assigns bindings to this replica, or did before it became unreachable.
    pub async fn run<F>(
        self,
        following: Condition,
        holding: Condition,
        stopping: CancellationToken,
        run: impl Fn(FunctionBinding, HeldBinding) -> F + Send + Sync,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let poke = Arc::new(Notify::new());
        let changed = Arc::clone(&poke);
        let follow = follow::follow_revisions(self.registry.clone(), following, move || changed.notify_one());
        let mut held = HeldBindings::default();
        let reconcile = async {
            tokio::join!(follow, self.reconcile(&mut held, &holding, &poke, &run));
        };
        stopping.run_until_cancelled(reconcile).await;
        self.hand_over(held).await;
    }

    async fn reconcile<F>(
        &self,
        held: &mut HeldBindings,
        holding: &Condition,
        poke: &Notify,
        run: &(impl Fn(FunctionBinding, HeldBinding) -> F + Send + Sync),
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let mut backoff = Backoff::reconnect();
        let mut is_away = false;
        loop {
            held.remove_ended();
            let pass = self.board.passes().begin();
            let outcome = self.hold(held, false).await;
            if outcome.is_err() != is_away {
                is_away = !is_away;
                match &outcome {
                    Ok(_) => tracing::info!("the registry assigns bindings again"),
                    Err(error) if is_outage(error) => {
                        tracing::warn!(%error, "the registry is not available; bindings keep running");
                    }
                    Err(error) => {
                        tracing::error!(%error, "the registry does not assign bindings; new ones do not start");
                    }
                }
            }
            if !outcome.as_ref().is_err_and(is_outage) {
                holding.set(outcome.is_ok());
            }
            let wait = match outcome {
                Ok(share) => {
                    backoff.reset();
                    let running = held.by_id.len();
                    self.apply(share, held, run);
                    if held.by_id.len() > running {
                        // The registry may have more, which it did not assign at once.
                        poke.notify_one();
                    }
                    self.board.passes().complete(pass);
                    held.renewal
                }
                Err(_) => backoff.next_wait().min(held.renewal),
            };
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = poke.notified() => {}
                // While the registry is not available, only the timer retries.
                () = self.board.passes().requested_after(pass), if !is_away => {}
                // Another replica may hold what has ended here, or it is restarted.
                Some(ended) = held.tasks.join_next_with_id() => held.remove(&ended),
            }
        }
    }

    /// Renews the leases of running bindings, and asks for the assigned ones.
    async fn hold(&self, held: &mut HeldBindings, stopping: bool) -> Result<HoldBindingsResponse, Error> {
        let request = HoldBindingsRequest {
            role: self.role.into(),
            holder: self.name.clone(),
            address: self.address.to_string(),
            running: held.by_id.keys().cloned().collect(),
            stopping,
            known_revision: held.known_revision,
        };
        let (asked, deadline) = (Instant::now(), Deadline::after(CALL_TIMEOUT));
        let request = deadline.attach(request);
        let share = async { share_of(self.client().hold_bindings(request).await?.into_inner()).await };
        let share = tokio::time::timeout_at(deadline.instant(), share).await;
        let too_late = |_| Error::new(Reason::DeadlineExceeded, "the registry did not answer in time");
        let share = share.map_err(too_late)??;
        let lease = Duration::from_millis(share.lease_ms.into());
        self.lease_ends.send_replace(asked + lease);
        held.renewal = (lease / RENEWALS).max(SHORTEST_RENEWAL);
        Ok(share)
    }

    /// Starts missing bindings and stops those that are not assigned. A changed binding is stopped and then started.
    fn apply<F>(
        &self,
        share: HoldBindingsResponse,
        held: &mut HeldBindings,
        run: &(impl Fn(FunctionBinding, HeldBinding) -> F + Send + Sync),
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        held.known_revision = share.known_revision;
        for (ids, end) in [(share.removed, End::Removed), (share.released, End::HandOver)] {
            for id in ids {
                self.end(held, &id, end);
            }
        }
        for binding in share.bindings {
            let Some(id) = binding.binding.as_ref().map(|binding| binding.id.clone()) else { continue };
            if let Some(running) = held.by_id.get(&id) {
                if running.binding != binding {
                    self.end(held, &id, End::HandOver);
                }
                continue;
            }
            let (end, ended) = watch::channel(None);
            let handle = HeldBinding {
                end: ended.clone(),
                lease_ends: self.lease_ends.subscribe(),
                revision: share.revision,
                report: self.board.enter(&id),
            };
            let work = Box::pin(run(binding.clone(), handle));
            let task = held.tasks.spawn(run_until_stopped(id.clone(), work, ended, self.board.clone()));
            held.by_id.insert(id, Running { binding, end, task: task.id() });
        }
    }

    /// Requests the end of a binding if it runs here.
    fn end(&self, held: &HeldBindings, id: &str, reason: End) {
        if let Some(running) = held.by_id.get(id) {
            self.board.supersede(id);
            running.request_end(reason);
        }
    }

    /// Stops all bindings, and renews the leases of those that take long.
    async fn hand_over(&self, mut held: HeldBindings) {
        for running in held.by_id.values() {
            running.request_end(End::HandOver);
        }
        let mut renewals = tokio::time::interval_at(Instant::now() + held.renewal, held.renewal);
        renewals.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = held.tasks.join_next_with_id() => match ended {
                    Some(ended) => held.remove(&ended),
                    None => break,
                },
                _ = renewals.tick() => {
                    if let Err(error) = self.hold(&mut held, true).await {
                        tracing::debug!(%error, "the leases were not renewed");
                    }
                }
            }
        }
        let request = ReleaseBindingsRequest { role: self.role.into(), holder: self.name.clone() };
        let request = Deadline::after(CALL_TIMEOUT).attach(request);
        if let Err(error) = self.client().release_bindings(request).await {
            tracing::debug!(%error, "the leases were not released; they will expire");
        }
    }

    fn client(&self) -> BindingsClient<Channel> {
        client(&self.registry)
    }
}

/// Whether the registry could not be asked.
fn is_outage(error: &Error) -> bool {
    matches!(error.reason, Reason::Unavailable | Reason::ConnectionLost | Reason::DeadlineExceeded)
}

impl Running {
    fn request_end(&self, end: End) {
        // The first reason counts.
        self.end.send_if_modified(|word| word.is_none().then(|| *word = Some(end)).is_some());
    }
}

impl Default for HeldBindings {
    fn default() -> Self {
        Self { tasks: JoinSet::new(), by_id: HashMap::new(), known_revision: 0, renewal: FIRST_RENEWAL }
    }
}

impl HeldBindings {
    fn remove_ended(&mut self) {
        while let Some(ended) = self.tasks.try_join_next_with_id() {
            self.remove(&ended);
        }
    }

    fn remove(&mut self, ended: &Result<(task::Id, ()), JoinError>) {
        let task = ended.as_ref().map_or_else(JoinError::id, |(task, ())| *task);
        self.by_id.retain(|_, running| running.task != task);
    }
}

/// Runs `work` until it was told to stop. If it ends by itself, waits before it is restarted.
///
/// `work` is boxed, because a future that is an argument and then awaited takes its room twice.
async fn run_until_stopped(
    id: String,
    work: Pin<Box<impl Future<Output = ()>>>,
    end: watch::Receiver<Option<End>>,
    board: StatusBoard,
) {
    let outcome = AssertUnwindSafe(work).catch_unwind().await;
    let problem = match outcome {
        Ok(()) => "it ended by itself",
        Err(_) => {
            tracing::error!(binding = id, "the task of a binding panicked");
            "it failed for a fault of the platform"
        }
    };
    if end.borrow().is_none() {
        let report = board.enter(&id);
        report.retrying(problem);
        let _ = tokio::time::timeout(RESTART_AFTER, stop_reason(end)).await;
    }
}

/// Puts the parts of a share together.
pub async fn share_of(
    mut parts: impl Stream<Item = Result<HoldBindingsResponse, Status>> + Unpin,
) -> Result<HoldBindingsResponse, Status> {
    let mut share = HoldBindingsResponse::default();
    while let Some(part) = parts.next().await {
        let HoldBindingsResponse { bindings, removed, released, lease_ms, revision, known_revision } = part?;
        share.bindings.extend(bindings);
        share.removed.extend(removed);
        share.released.extend(released);
        (share.lease_ms, share.revision, share.known_revision) = (lease_ms, revision, known_revision);
    }
    Ok(share)
}

fn client(registry: &Channel) -> BindingsClient<Channel> {
    BindingsClient::new(registry.clone()).max_decoding_message_size(MAX_MESSAGE_BYTES)
}

/// Returns which of these bindings exist, whether a replica holds them or not.
pub async fn find_existing(
    registry: &Channel,
    ids: Vec<String>,
    deadline: Deadline,
) -> Result<HashSet<String>, Error> {
    let request = deadline.attach(FindHoldersRequest { ids });
    let found = client(registry).find_holders(request).await?.into_inner();
    Ok(found.existing.into_iter().collect())
}

/// The addresses of the replicas that hold these bindings, by the bindings' ids.
pub async fn find_holders(
    registry: &Channel,
    ids: Vec<String>,
    deadline: Deadline,
) -> Result<HashMap<String, Endpoint>, Error> {
    let request = deadline.attach(FindHoldersRequest { ids });
    let found = client(registry).find_holders(request).await?.into_inner();
    let holders = found.holders.into_iter().map(|holder| {
        let endpoint = holder.address.parse().map_err(Error::internal)?;
        Ok((holder.binding_id, endpoint))
    });
    holders.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_task_takes_the_room_of_its_work_once() {
        let work = Box::pin(async {
            let room = [0_u8; 8 << 10];
            task::yield_now().await;
            assert!(room.iter().all(|byte| *byte == 0));
        });
        let (_end, ended) = watch::channel(Some(End::Removed));
        let task = run_until_stopped("b".into(), work, ended, StatusBoard::default());
        let size = size_of_val(&task);
        assert!(size <= 2 << 10, "{size} bytes");
        task.await;
    }
}
