//! `funless.connector.v1.Events`.

use std::collections::HashMap;
use std::time::Duration;

use mesh::bindings::{Lookup, Question, forward};
use mesh::paging::page;
use mesh::{Caller, Channel};
use proto::binding::v1::BindingStatus;
use proto::connector::v1::events_client::EventsClient;
use proto::connector::v1::events_server::Events;
use proto::connector::v1::{
    CheckEventsRequest, CheckEventsResponse, EventCounts, EventLedger, EventStatus, GetEventStatusRequest,
    GetEventStatusResponse, ListEventLedgersRequest, ListEventLedgersResponse,
};
use tonic::{Request, Response, Status};

use crate::error::journal_error;
use crate::journal::Journal;
use crate::kinds;

/// How long to wait for the counts; without them, statuses are returned alone.
const COUNTS_TIMEOUT: Duration = Duration::from_secs(1);

/// Checks event sources, and reports their statuses and counts.
#[derive(Debug)]
pub(crate) struct EventsHandler {
    journal: Journal,
    /// The statuses of the bindings of all replicas.
    lookup: Lookup,
}

impl EventsHandler {
    /// Serves the statuses that `lookup` finds, and the counts of `journal`.
    pub(crate) fn new(journal: Journal, lookup: Lookup) -> Self {
        Self { journal, lookup }
    }

    /// The counts of those that have ever run; `None` if the database does not answer in time.
    async fn counts(&self, ids: &[String]) -> Option<HashMap<String, EventCounts>> {
        let ledgers = tokio::time::timeout(COUNTS_TIMEOUT, self.journal.ledgers_of(ids)).await;
        match ledgers {
            Ok(Ok(ledgers)) => {
                let counts = |ledger: EventLedger| Some((ledger.binding_id, ledger.counts?));
                Some(ledgers.into_iter().filter_map(counts).collect())
            }
            Ok(Err(error)) => {
                tracing::debug!(%error, "the counts of events are not available");
                None
            }
            Err(_) => {
                tracing::debug!("the counts of events are not available in time");
                None
            }
        }
    }
}

#[tonic::async_trait]
impl Events for EventsHandler {
    async fn check_events(
        &self,
        request: Request<CheckEventsRequest>,
    ) -> Result<Response<CheckEventsResponse>, Status> {
        Caller::of(&request).only_services()?;
        let problem = |event: &_| kinds::read(event).err().unwrap_or_default();
        let problems = request.get_ref().events.iter().map(problem).collect();
        Ok(Response::new(CheckEventsResponse { problems }))
    }

    async fn get_event_status(
        &self,
        request: Request<GetEventStatusRequest>,
    ) -> Result<Response<GetEventStatusResponse>, Status> {
        Caller::of(&request).only_services()?;
        let GetEventStatusRequest { ids, wait } = request.get_ref();
        let ask = async |channel: Channel, ids, deadline| {
            let request = forward(GetEventStatusRequest { ids, wait: *wait }, deadline);
            let answer = EventsClient::new(channel).get_event_status(request).await?.into_inner();
            Ok(answer.statuses.into_iter().filter_map(|event| event.status).collect())
        };
        let found = self.lookup.find(Question::of(&request, ids, *wait), ask);
        let (mut found, mut counts) = tokio::join!(found, self.counts(ids));
        let ids = request.into_inner().ids;
        let statuses = ids.into_iter().map(|id| EventStatus {
            counts: counts.as_mut().map(|counts| counts.remove(&id).unwrap_or_default()),
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
        let ListEventLedgersRequest { page_size, page_token } = request.into_inner();
        let (ledgers, next_page_token) =
            page(ledgers, page_size, &page_token, |ledger| &ledger.binding_id, str::cmp);
        Ok(Response::new(ListEventLedgersResponse { ledgers, next_page_token }))
    }
}
