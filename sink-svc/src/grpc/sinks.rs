//! `funless.sink.v1.Sinks`.

use std::collections::HashMap;
use std::time::Duration;

use futures::future::join_all;
use mesh::bindings::find_holders;
use mesh::channel::Endpoint;
use mesh::deadline::Deadline;
use mesh::{Caller, Error};
use proto::binding::v1::{BindingState, BindingStatus};
use proto::sink::v1::sinks_client::SinksClient;
use proto::sink::v1::sinks_server::Sinks;
use proto::sink::v1::{
    CheckSinksRequest, CheckSinksResponse, GetSinkStatusRequest, GetSinkStatusResponse,
    ListSinkLedgersRequest, ListSinkLedgersResponse, SinkStatus,
};
use tonic::metadata::MetadataValue;
use tonic::{Request, Response, Status};

use super::Handler;
use crate::error::only_services;
use crate::kinds;

/// Marks what one replica asks another, which then asks no third one.
const FORWARDED: &str = "x-funless-forwarded";
/// How long an answer may take whose caller sets no deadline.
const LONGEST_WAIT: Duration = Duration::from_secs(10);
/// Of the caller's deadline, what the answer needs for its way.
const MARGIN: Duration = Duration::from_millis(150);
/// How often one looks for what is not there yet.
const LOOK_INTERVAL: Duration = Duration::from_millis(50);

#[tonic::async_trait]
impl Sinks for Handler {
    async fn check_sinks(
        &self,
        request: Request<CheckSinksRequest>,
    ) -> Result<Response<CheckSinksResponse>, Status> {
        only_services(&Caller::of(&request))?;
        let problem = |sink: &_| kinds::check(sink, &self.http).err().unwrap_or_default();
        let problems = request.get_ref().sinks.iter().map(problem).collect();
        Ok(Response::new(CheckSinksResponse { problems }))
    }

    async fn get_sink_status(
        &self,
        request: Request<GetSinkStatusRequest>,
    ) -> Result<Response<GetSinkStatusResponse>, Status> {
        only_services(&Caller::of(&request))?;
        let deadline = Deadline::of_at_most(&request, LONGEST_WAIT);
        let may_forward = request.metadata().get(FORWARDED).is_none();
        let GetSinkStatusRequest { ids, wait } = request.into_inner();
        let mut statuses = self.find_statuses(&ids, wait, may_forward, deadline).await;
        let mut counts = match self.outbox.counts(&ids).await {
            Ok(counts) => Some(counts),
            Err(error) => {
                tracing::debug!(%error, "the counts of sinks are not known");
                None
            }
        };
        let statuses = ids.into_iter().map(|id| SinkStatus {
            counts: counts.as_mut().map(|counts| counts.remove(&id).unwrap_or_default()),
            status: Some(statuses.remove(&id).unwrap_or(BindingStatus { id, ..BindingStatus::default() })),
        });
        Ok(Response::new(GetSinkStatusResponse { statuses: statuses.collect() }))
    }

    async fn list_sink_ledgers(
        &self,
        request: Request<ListSinkLedgersRequest>,
    ) -> Result<Response<ListSinkLedgersResponse>, Status> {
        let caller = Caller::of(&request);
        let ledgers = self.outbox.ledgers().await?;
        let reached = ledgers.into_iter().filter(|ledger| caller.reaches(&ledger.owner));
        Ok(Response::new(ListSinkLedgersResponse { ledgers: reached.map(|ledger| ledger.it).collect() }))
    }
}

impl Handler {
    /// The statuses of those that some replica runs. With `wait`, those that have not tried to connect
    /// yet, or that nobody runs yet, are waited for.
    async fn find_statuses(
        &self,
        ids: &[String],
        wait: bool,
        may_forward: bool,
        deadline: Deadline,
    ) -> HashMap<String, BindingStatus> {
        let mut statuses = HashMap::new();
        loop {
            statuses.extend(ids.iter().filter_map(|id| Some((id.clone(), self.board.get(id)?))));
            let elsewhere: Vec<_> = ids.iter().filter(|id| !statuses.contains_key(*id)).cloned().collect();
            if may_forward && !elsewhere.is_empty() {
                statuses.extend(self.ask_holders(elsewhere, wait, deadline).await);
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

    /// What the replicas say that run these.
    async fn ask_holders(
        &self,
        ids: Vec<String>,
        wait: bool,
        deadline: Deadline,
    ) -> Vec<(String, BindingStatus)> {
        let holders = match find_holders(&self.registry, ids, deadline).await {
            Ok(holders) => holders,
            Err(error) => {
                tracing::debug!(%error, "who runs these sinks is not known");
                return Vec::new();
            }
        };
        let mut by_holder = HashMap::<Endpoint, Vec<String>>::new();
        for (id, holder) in holders {
            // One that is this replica's own will start soon.
            if holder != self.address {
                by_holder.entry(holder).or_default().push(id);
            }
        }
        let asked = by_holder.into_iter().map(|(holder, ids)| async move {
            let answer = self.ask_holder(&holder, ids, wait, deadline).await;
            answer.unwrap_or_else(|error| {
                tracing::debug!(%error, %holder, "a replica does not tell how its sinks do");
                Vec::new()
            })
        });
        join_all(asked).await.into_iter().flatten().collect()
    }

    async fn ask_holder(
        &self,
        holder: &Endpoint,
        ids: Vec<String>,
        wait: bool,
        deadline: Deadline,
    ) -> Result<Vec<(String, BindingStatus)>, Error> {
        let mut client = SinksClient::new(self.dialer.dial(holder)?);
        let mut request = Request::new(GetSinkStatusRequest { ids, wait });
        request.set_timeout(deadline.remaining().saturating_sub(MARGIN));
        request.metadata_mut().insert(FORWARDED, MetadataValue::from_static("1"));
        let statuses = client.get_sink_status(request).await?.into_inner().statuses;
        let statuses = statuses.into_iter().filter_map(|status| status.status);
        let known = statuses.filter(|status| status.state() != BindingState::Unspecified);
        Ok(known.map(|status| (status.id.clone(), status)).collect())
    }
}

/// Its first attempt to connect has ended.
fn is_settled(status: &BindingStatus) -> bool {
    !matches!(status.state(), BindingState::Unspecified | BindingState::Connecting)
}
