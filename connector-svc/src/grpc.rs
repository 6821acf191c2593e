//! `funless.connector.v1.Events`.

use proto::connector::v1::events_server::Events;
use proto::connector::v1::{
    CheckEventsRequest, CheckEventsResponse, EventState, EventStatus, GetEventStatusRequest,
    GetEventStatusResponse,
};
use tonic::{Request, Response, Status};

use crate::kinds;

/// Answers what the gateway asks about events.
#[derive(Debug)]
pub struct EventsHandler;

#[tonic::async_trait]
impl Events for EventsHandler {
    async fn check_events(
        &self,
        request: Request<CheckEventsRequest>,
    ) -> Result<Response<CheckEventsResponse>, Status> {
        let problem = |event: &_| kinds::check(event).err().unwrap_or_default();
        let problems = request.get_ref().events.iter().map(problem).collect();
        Ok(Response::new(CheckEventsResponse { problems }))
    }

    async fn get_event_status(
        &self,
        request: Request<GetEventStatusRequest>,
    ) -> Result<Response<GetEventStatusResponse>, Status> {
        let status = |id| EventStatus {
            id,
            state: EventState::NotConnected.into(),
            message: "stored, not connected: this version connects to no event source yet".to_owned(),
        };
        let statuses = request.into_inner().ids.into_iter().map(status).collect();
        Ok(Response::new(GetEventStatusResponse { statuses }))
    }
}

#[cfg(test)]
mod tests {
    use proto::connector::v1::events_client::EventsClient;
    use proto::registry::v1::Binding;

    use super::*;
    use crate::{App, Config};

    #[tokio::test]
    async fn tells_good_events_from_bad_ones_in_order() {
        let host = mesh::testing::host("connector");
        let service = App::start(Config::default(), host.clone()).await.expect("starts");
        let mut client = EventsClient::new(mesh::testing::serve_local(&host, &service));
        let event = |kind: &str, params: &str| Binding {
            id: String::new(),
            r#type: kind.into(),
            params: params.into(),
        };
        let events = vec![
            event("mqtt", r#"{"host":"broker","port":"1883","topic":"a/b"}"#),
            event("kafka", "{}"),
            event("mqtt", r#"{"host":"broker","port":"many","topic":"t"}"#),
        ];
        let problems =
            client.check_events(CheckEventsRequest { events }).await.expect("ok").into_inner().problems;
        assert_eq!(problems[0], "");
        assert!(problems[1].starts_with("not_implemented: "), "{}", problems[1]);
        assert!(problems[2].contains("port"), "{}", problems[2]);

        let ids = vec!["1".to_owned(), "2".to_owned()];
        let statuses = client.get_event_status(GetEventStatusRequest { ids: ids.clone() }).await.expect("ok");
        let statuses = statuses.into_inner().statuses;
        assert_eq!(statuses.iter().map(|status| status.id.clone()).collect::<Vec<_>>(), ids);
        assert!(statuses.iter().all(|status| status.state() == EventState::NotConnected));
    }
}
