//! `funless.connector.v1.Events`.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use mesh::bindings::{StatusBoard, find_holders};
use mesh::channel::Endpoint;
use mesh::deadline::Deadline;
use mesh::{Caller, Channel, Dialer, Error};
use proto::binding::v1::{BindingState, BindingStatus};
use proto::connector::v1::events_client::EventsClient;
use proto::connector::v1::events_server::Events;
use proto::connector::v1::{
    CheckEventsRequest, CheckEventsResponse, EventStatus, GetEventStatusRequest, GetEventStatusResponse,
    ListEventLedgersRequest, ListEventLedgersResponse,
};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::journal_error;
use crate::journal::Journal;
use crate::kinds;

/// Marks a question that comes from another replica: it is about what runs here.
const FORWARDED: &str = "x-funless-forwarded";
/// How long to wait for the state of bindings when the caller does not say.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often to look while waiting.
const LOOK: Duration = Duration::from_millis(50);

/// Answers what is asked about events.
#[derive(Debug)]
pub(crate) struct EventsHandler {
    journal: Journal,
    board: StatusBoard,
    registry: Channel,
    dialer: Dialer,
    /// Where this replica is reached.
    address: Endpoint,
}

impl EventsHandler {
    /// Answers for the bindings on `board`, and for those of the replicas that `registry` names.
    pub(crate) fn new(
        journal: Journal,
        board: StatusBoard,
        registry: Channel,
        dialer: Dialer,
        address: Endpoint,
    ) -> Self {
        Self { journal, board, registry, dialer, address }
    }

    /// The states of those bindings of which there is one, whichever replica runs them.
    async fn look(
        &self,
        ids: &[String],
        is_forwarded: bool,
        deadline: Deadline,
    ) -> HashMap<String, BindingStatus> {
        let here = ids.iter().filter_map(|id| Some((id.clone(), self.board.get(id)?)));
        let mut found: HashMap<_, _> = here.collect();
        let elsewhere: Vec<_> = ids.iter().filter(|id| !found.contains_key(*id)).cloned().collect();
        if !is_forwarded && !elsewhere.is_empty() {
            found.extend(self.ask_others(elsewhere, deadline).await);
        }
        found
    }

    async fn ask_others(&self, ids: Vec<String>, deadline: Deadline) -> Vec<(String, BindingStatus)> {
        let holders = match find_holders(&self.registry, ids, deadline).await {
            Ok(holders) => holders,
            Err(error) => {
                tracing::debug!(%error, "nobody says who runs the bindings");
                return Vec::new();
            }
        };
        let mut by_replica = HashMap::<_, Vec<_>>::new();
        for (id, replica) in holders.into_iter().filter(|(_, replica)| *replica != self.address) {
            by_replica.entry(replica).or_default().push(id);
        }
        let answers = by_replica.into_iter().map(|(replica, ids)| self.ask(replica, ids, deadline));
        join_all(answers).await.into_iter().flatten().collect()
    }

    async fn ask(
        &self,
        replica: Endpoint,
        ids: Vec<String>,
        deadline: Deadline,
    ) -> Vec<(String, BindingStatus)> {
        let answer = async {
            let mut request = deadline.attach(GetEventStatusRequest { ids, wait: false });
            request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
            let mut client = EventsClient::new(self.dialer.dial(&replica)?);
            Ok::<_, Error>(client.get_event_status(request).await?.into_inner().statuses)
        };
        let statuses = answer.await.unwrap_or_else(|error| {
            tracing::debug!(%replica, %error, "a replica does not say how its bindings do");
            Vec::new()
        });
        let known = statuses.into_iter().filter_map(|status| status.status);
        known
            .filter(|status| status.state() != BindingState::Unspecified)
            .map(|s| (s.id.clone(), s))
            .collect()
    }
}

fn is_settled(status: Option<&BindingStatus>) -> bool {
    status.is_some_and(|status| matches!(status.state(), BindingState::Connected | BindingState::Retrying))
}

#[tonic::async_trait]
impl Events for EventsHandler {
    async fn check_events(
        &self,
        request: Request<CheckEventsRequest>,
    ) -> Result<Response<CheckEventsResponse>, Status> {
        let problem = |event: &_| kinds::read(event).err().unwrap_or_default();
        let problems = request.get_ref().events.iter().map(problem).collect();
        Ok(Response::new(CheckEventsResponse { problems }))
    }

    async fn get_event_status(
        &self,
        request: Request<GetEventStatusRequest>,
    ) -> Result<Response<GetEventStatusResponse>, Status> {
        let deadline = Deadline::of_at_most(&request, PATIENCE);
        let is_forwarded = request.metadata().contains_key(FORWARDED);
        let GetEventStatusRequest { ids, wait } = request.into_inner();
        // The answer has to be on its way before the deadline.
        let patience = Deadline::after(deadline.remaining().mul_f64(0.9));
        let mut found = self.look(&ids, is_forwarded, patience).await;
        while wait && !ids.iter().all(|id| is_settled(found.get(id))) && patience.remaining() > LOOK {
            tokio::time::sleep(LOOK).await;
            found = self.look(&ids, is_forwarded, patience).await;
        }
        let mut counts: HashMap<_, _> = match is_forwarded {
            true => HashMap::new(),
            false => {
                let ledgers = self.journal.ledgers_of(&ids).await.map_err(journal_error)?;
                ledgers.into_iter().map(|ledger| (ledger.binding_id, ledger.counts)).collect()
            }
        };
        let statuses = ids.into_iter().map(|id| EventStatus {
            counts: Some(counts.remove(&id).flatten().unwrap_or_default()),
            status: Some(
                found.remove(&id).unwrap_or_else(|| BindingStatus { id, ..BindingStatus::default() }),
            ),
        });
        Ok(Response::new(GetEventStatusResponse { statuses: statuses.collect() }))
    }

    async fn list_event_ledgers(
        &self,
        request: Request<ListEventLedgersRequest>,
    ) -> Result<Response<ListEventLedgersResponse>, Status> {
        let ledgers = self.journal.ledgers(&Caller::of(&request)).await.map_err(journal_error)?;
        Ok(Response::new(ListEventLedgersResponse { ledgers }))
    }
}
