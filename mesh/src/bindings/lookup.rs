//! Finding out how bindings do, wherever they run.

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

/// Marks what one replica asks another, which then asks no third one.
const FORWARDED: &str = "x-funless-forwarded";
/// How long an answer may take whose caller sets no deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Of the caller's deadline, what the answer needs for its way.
const MARGIN: Duration = Duration::from_millis(150);
/// How often one looks for what is not there yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

/// Knows how the bindings of all replicas do.
#[derive(Debug, Clone)]
pub struct Lookup {
    /// Those that run here.
    pub board: StatusBoard,
    /// Who knows which replica runs the others.
    pub registry: Channel,
    /// How other replicas are reached.
    pub dialer: Dialer,
    /// Where other replicas reach this one.
    pub address: Endpoint,
}

/// What is looked for.
#[derive(Debug, Clone, Copy)]
pub struct Question<'a> {
    /// Ids of bindings.
    pub ids: &'a [String],
    /// Wait for what has been written to the registry before, and then until each binding has tried to connect.
    pub wait: bool,
    deadline: Deadline,
    is_forwarded: bool,
}

impl<'a> Question<'a> {
    /// What `request` asks for.
    pub fn of<T>(request: &tonic::Request<T>, ids: &'a [String], wait: bool) -> Self {
        let deadline = Deadline::of_at_most(request, LONGEST_WAIT);
        Self { ids, wait, deadline, is_forwarded: request.metadata().contains_key(FORWARDED) }
    }
}

impl Lookup {
    /// The statuses of those that some replica runs, by their ids. `ask` sends a request to another
    /// replica, which is made with [`forward`].
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
            // What has not settled may be elsewhere now.
            statuses.retain(|_, status| is_settled(status));
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    /// Whether this replica knows in time what has been written to the registry by now.
    async fn is_up_to_date_by(&self, deadline: Deadline) -> bool {
        let limit = deadline.remaining().saturating_sub(MARGIN + LOOK_INTERVAL);
        tokio::time::timeout(limit, self.board.up_to_date()).await.is_ok()
    }

    /// What the replicas say that run these.
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
                tracing::debug!(%error, "who runs these bindings is not known");
                return Vec::new();
            }
        };
        let mut by_holder = HashMap::<Endpoint, Vec<String>>::new();
        // One that is this replica's own will start soon.
        for (id, holder) in holders.into_iter().filter(|(_, holder)| *holder != self.address) {
            by_holder.entry(holder).or_default().push(id);
        }
        let asked = by_holder.into_iter().map(|(holder, ids)| async move {
            let answer = match self.dialer.dial(&holder) {
                Ok(channel) => ask(channel, ids, deadline).await,
                Err(error) => Err(error),
            };
            answer.unwrap_or_else(|error| {
                tracing::debug!(%error, %holder, "a replica does not tell how its bindings do");
                Vec::new()
            })
        });
        let statuses = join_all(asked).await.into_iter().flatten();
        statuses.filter(|status| status.state() != BindingState::Unspecified).collect()
    }
}

/// A request to another replica, which asks no third one, and whose answer comes before the deadline.
pub fn forward<T>(message: T, deadline: Deadline) -> tonic::Request<T> {
    let mut request = tonic::Request::new(message);
    request.set_timeout(deadline.remaining().saturating_sub(MARGIN));
    request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
    request
}

/// The status of a connection that may be a former one: that of the binding as it is now is not known.
fn unsettled(status: BindingStatus) -> BindingStatus {
    BindingStatus { state: BindingState::Connecting.into(), message: String::new(), ..status }
}

/// Its first attempt to connect has ended.
fn is_settled(status: &BindingStatus) -> bool {
    matches!(status.state(), BindingState::Connected | BindingState::Retrying)
}
