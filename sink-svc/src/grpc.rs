//! `funless.sink.v1.Sinks`.

use proto::sink::v1::sinks_server::Sinks;
use proto::sink::v1::{
    CheckSinksRequest, CheckSinksResponse, GetSinkStatusRequest, GetSinkStatusResponse, SinkState, SinkStatus,
};
use tonic::{Request, Response, Status};

use crate::kinds;

/// Answers what the gateway asks about sinks.
#[derive(Debug)]
pub struct SinksHandler;

#[tonic::async_trait]
impl Sinks for SinksHandler {
    async fn check_sinks(
        &self,
        request: Request<CheckSinksRequest>,
    ) -> Result<Response<CheckSinksResponse>, Status> {
        let problem = |sink: &_| kinds::check(sink).err().unwrap_or_default();
        let problems = request.get_ref().sinks.iter().map(problem).collect();
        Ok(Response::new(CheckSinksResponse { problems }))
    }

    async fn get_sink_status(
        &self,
        request: Request<GetSinkStatusRequest>,
    ) -> Result<Response<GetSinkStatusResponse>, Status> {
        let status = |id| SinkStatus {
            id,
            state: SinkState::NotConnected.into(),
            message: "stored, not connected: this version delivers to no sink yet".to_owned(),
        };
        let statuses = request.into_inner().ids.into_iter().map(status).collect();
        Ok(Response::new(GetSinkStatusResponse { statuses }))
    }
}

#[cfg(test)]
mod tests {
    use proto::registry::v1::Binding;
    use proto::sink::v1::sinks_client::SinksClient;

    use super::*;
    use crate::{App, Config};

    #[tokio::test]
    async fn tells_good_sinks_from_bad_ones_in_order() {
        let host = mesh::testing::host("sink");
        let service = App::start(Config::default(), host.clone()).await.expect("starts");
        let mut client = SinksClient::new(mesh::testing::serve_local(&host, &service));
        let sink = |kind: &str, params: &str| Binding {
            id: String::new(),
            r#type: kind.into(),
            params: params.into(),
        };
        let sinks = vec![sink("couchdb", r#"{"url":"http://couch:5984/db"}"#), sink("mongodb", "{}")];
        let problems =
            client.check_sinks(CheckSinksRequest { sinks }).await.expect("ok").into_inner().problems;
        assert_eq!(problems[0], "");
        assert!(problems[1].contains("expected one of: couchdb"), "{}", problems[1]);

        let ids = vec!["1".to_owned()];
        let statuses =
            client.get_sink_status(GetSinkStatusRequest { ids }).await.expect("ok").into_inner().statuses;
        assert_eq!(statuses[0].state(), SinkState::NotConnected);
    }
}
