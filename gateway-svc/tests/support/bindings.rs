//! A connector and a sink service that know one kind each.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use proto::connector::v1::events_server::Events;
use proto::connector::v1::{
    CheckEventsRequest, CheckEventsResponse, EventState, EventStatus, GetEventStatusRequest,
    GetEventStatusResponse,
};
use proto::registry::v1::Binding;
use proto::sink::v1::sinks_server::Sinks;
use proto::sink::v1::{
    CheckSinksRequest, CheckSinksResponse, GetSinkStatusRequest, GetSinkStatusResponse, SinkState, SinkStatus,
};
use tonic::{Request, Response, Status};

/// What hinders a binding, by id. One that is not here is connected.
type Hindrances = Arc<Mutex<HashMap<String, String>>>;

#[derive(Clone, Default)]
pub struct FakeConnector {
    pub hindrances: Hindrances,
}

#[derive(Clone, Default)]
pub struct FakeSink {
    pub hindrances: Hindrances,
}

fn problem(binding: &Binding, known: &str) -> String {
    match binding.r#type == known {
        true => String::new(),
        false => format!("not_implemented: {}; there is {known}", binding.r#type),
    }
}

#[tonic::async_trait]
impl Events for FakeConnector {
    async fn check_events(
        &self,
        request: Request<CheckEventsRequest>,
    ) -> Result<Response<CheckEventsResponse>, Status> {
        let problems = request.get_ref().events.iter().map(|event| problem(event, "mqtt")).collect();
        Ok(Response::new(CheckEventsResponse { problems }))
    }

    async fn get_event_status(
        &self,
        request: Request<GetEventStatusRequest>,
    ) -> Result<Response<GetEventStatusResponse>, Status> {
        let hindrances = self.hindrances.lock();
        let status = |id: String| match hindrances.get(&id).cloned() {
            None => EventStatus { id, state: EventState::Connected.into(), message: String::new() },
            Some(message) => EventStatus { id, state: EventState::NotConnected.into(), message },
        };
        let statuses = request.into_inner().ids.into_iter().map(status).collect();
        Ok(Response::new(GetEventStatusResponse { statuses }))
    }
}

#[tonic::async_trait]
impl Sinks for FakeSink {
    async fn check_sinks(
        &self,
        request: Request<CheckSinksRequest>,
    ) -> Result<Response<CheckSinksResponse>, Status> {
        let problems = request.get_ref().sinks.iter().map(|sink| problem(sink, "couchdb")).collect();
        Ok(Response::new(CheckSinksResponse { problems }))
    }

    async fn get_sink_status(
        &self,
        request: Request<GetSinkStatusRequest>,
    ) -> Result<Response<GetSinkStatusResponse>, Status> {
        let hindrances = self.hindrances.lock();
        let status = |id: String| match hindrances.get(&id).cloned() {
            None => SinkStatus { id, state: SinkState::Connected.into(), message: String::new() },
            Some(message) => SinkStatus { id, state: SinkState::NotConnected.into(), message },
        };
        let statuses = request.into_inner().ids.into_iter().map(status).collect();
        Ok(Response::new(GetSinkStatusResponse { statuses }))
    }
}
