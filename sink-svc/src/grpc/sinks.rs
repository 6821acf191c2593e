//! `funless.sink.v1.Sinks`.

use mesh::bindings::{Question, forward};
use mesh::paging::page;
use mesh::{Caller, Channel};
use proto::binding::v1::BindingStatus;
use proto::sink::v1::sinks_client::SinksClient;
use proto::sink::v1::sinks_server::Sinks;
use proto::sink::v1::{
    CheckSinksRequest, CheckSinksResponse, GetSinkStatusRequest, GetSinkStatusResponse,
    ListSinkLedgersRequest, ListSinkLedgersResponse, SinkStatus,
};
use tonic::{Request, Response, Status};

use super::Handler;
use crate::kinds;

#[tonic::async_trait]
impl Sinks for Handler {
    async fn check_sinks(
        &self,
        request: Request<CheckSinksRequest>,
    ) -> Result<Response<CheckSinksResponse>, Status> {
        Caller::of(&request).only_services()?;
        let problem = |sink: &_| kinds::check(sink, &self.network).err().unwrap_or_default();
        let problems = request.get_ref().sinks.iter().map(problem).collect();
        Ok(Response::new(CheckSinksResponse { problems }))
    }

    async fn get_sink_status(
        &self,
        request: Request<GetSinkStatusRequest>,
    ) -> Result<Response<GetSinkStatusResponse>, Status> {
        Caller::of(&request).only_services()?;
        let GetSinkStatusRequest { ids, wait } = request.get_ref();
        let question = Question::of(&request, ids, *wait);
        let ask = async |channel: Channel, ids, deadline| {
            let request = forward(GetSinkStatusRequest { ids, wait: *wait }, deadline);
            let answer = SinksClient::new(channel).get_sink_status(request).await?.into_inner();
            Ok(answer.statuses.into_iter().filter_map(|sink| sink.status).collect())
        };
        let mut statuses = self.lookup.find(question, ask).await;
        let ids = request.into_inner().ids;
        let mut counts = match self.outbox.counts(&ids).await {
            Ok(counts) => Some(counts),
            Err(error) => {
                tracing::debug!(%error, "the counts of sinks could not be read");
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
        let mut reached: Vec<_> = reached.map(|ledger| ledger.it).collect();
        reached.sort_by(|a, b| a.binding_id.cmp(&b.binding_id));
        let ListSinkLedgersRequest { page_size, page_token } = request.into_inner();
        let (ledgers, next_page_token) =
            page(reached, page_size, &page_token, |ledger| &ledger.binding_id, str::cmp);
        Ok(Response::new(ListSinkLedgersResponse { ledgers, next_page_token }))
    }
}
