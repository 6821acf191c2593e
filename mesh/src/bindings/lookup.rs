//! Looks up the statuses of bindings, on whichever replica they run.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use proto::binding::v1::{BindingState, BindingStatus};
use tonic::metadata::MetadataValue;

use super::replica::find_holders;
use super::status::StatusBoard;
use crate::channel::{Channel, Dialer};
use crate::deadline::Deadline;
use crate::endpoint::Endpoint;
use crate::error::Error;

/// Marks requests from other replicas, which are not forwarded again.
const FORWARDED: &str = "x-funless-forwarded";
/// The timeout of a call without a deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// The part of the caller's deadline that is left for the response.
const MARGIN: Duration = Duration::from_millis(150);
/// How often statuses that are not known yet are looked up again.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Looks up the statuses of the bindings of all replicas.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// The statuses of the bindings that run here.
    pub board: StatusBoard,
    /// The registry, which knows the holders of the others.
    pub registry: Channel,
    /// Opens channels to other replicas.
    pub dialer: Dialer,
    /// The address at which other replicas reach this one.
    pub address: Endpoint,
}

/// What to look up.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// The ids of the bindings.
    pub ids: &'a [String],
    /// Waits until writes to the registry before this call are applied, and each binding has tried to connect.
    pub wait: bool,
    deadline: Deadline,
    is_forwarded: bool,
}

impl<'a> Question<'a> {
    /// The question in `request`.
    pub fn of<T>(request: &tonic::Request<T>, ids: &'a [String], wait: bool) -> Self {
        let deadline = Deadline::of_at_most(request, LONGEST_WAIT);
        Self { ids, wait, deadline, is_forwarded: request.metadata().contains_key(FORWARDED) }
    }
}

impl Lookup {
    /// The statuses of the bindings that a replica runs, by id. `ask` sends a request made with [`forward`] to another
    /// replica.
    pub async fn find<F>(
        &self,
        question: Question<'_>,
        ask: impl Fn(Channel, Vec<String>, Deadline) -> F,
    ) -> HashMap<String, BindingStatus>
    where
        F: Future<Output = Result<Vec<BindingStatus>, Error>>,
    {
        let Question { ids, wait, deadline, is_forwarded } = question;
        let is_up_to_date = !wait || self.is_up_to_date_by(deadline).await;
        let mut statuses = HashMap::new();
        loop {
            let here = ids.iter().filter_map(|id| self.board.get(id));
            let here = here.map(|status| if is_up_to_date { status } else { unsettled(status) });
            statuses.extend(here.map(|status| (status.id.clone(), status)));
            let elsewhere: Vec<_> = ids.iter().filter(|id| !statuses.contains_key(*id)).cloned().collect();
            if !is_forwarded && !elsewhere.is_empty() {
                let found = self.ask_holders(elsewhere, deadline, &ask).await;
                statuses.extend(found.into_iter().map(|status| (status.id.clone(), status)));
            }
            let all_settled = ids.iter().all(|id| statuses.get(id).is_some_and(is_settled));
            let is_late = deadline.remaining() < MARGIN + LOOK_INTERVAL;
            if !wait || is_late || all_settled {
                return statuses;
            }
            // A binding that has not connected may have moved to another replica.
            statuses.retain(|_, status| is_settled(status));
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Waits until writes to the registry before this call are applied here. Returns whether they are in time.
    async fn is_up_to_date_by(&self, deadline: Deadline) -> bool {
        let limit = deadline.remaining().saturating_sub(MARGIN + LOOK_INTERVAL);
        tokio::time::timeout(limit, self.board.up_to_date()).await.is_ok()
    }

    /// Asks the replicas that hold these bindings.
    async fn ask_holders<F>(
        &self,
        ids: Vec<String>,
        deadline: Deadline,
        ask: &impl Fn(Channel, Vec<String>, Deadline) -> F,
    ) -> Vec<BindingStatus>
    where
        F: Future<Output = Result<Vec<BindingStatus>, Error>>,
    {
        let holders = match find_holders(&self.registry, ids, deadline).await {
            Ok(holders) => holders,
            Err(error) => {
                tracing::debug!(%error, "cannot look up the holders of bindings");
                return Vec::new();
            }
        };
        let mut by_holder = HashMap::<Endpoint, Vec<String>>::new();
        // This replica's own bindings start soon.
        for (id, holder) in holders.into_iter().filter(|(_, holder)| *holder != self.address) {
            by_holder.entry(holder).or_default().push(id);
        }
        let asked = by_holder.into_iter().map(|(holder, ids)| async move {
            let answer = match self.dialer.dial(&holder) {
                Ok(channel) => ask(channel, ids, deadline).await,
                Err(error) => Err(error),
            };
            answer.unwrap_or_else(|error| {
                tracing::debug!(%error, %holder, "a replica did not return the statuses of its bindings");
                Vec::new()
            })
        });
        let statuses = join_all(asked).await.into_iter().flatten();
        statuses.filter(|status| status.state() != BindingState::Unspecified).collect()
    }
}

/// A request to another replica that is not forwarded again, and is answered before the deadline.
pub fn forward<T>(message: T, deadline: Deadline) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline.remaining().saturating_sub(MARGIN));
    request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
    request
}

/// The status when the connection may be that of a previous version of the binding: its state is unknown.
fn unsettled(status: BindingStatus) -> BindingStatus {
    BindingStatus { state: BindingState::Connecting.into(), message: String::new(), ..status }
}

/// Whether its first attempt to connect has ended.
fn is_settled(status: &BindingStatus) -> bool {
    matches!(status.state(), BindingState::Connected | BindingState::Retrying)
}
