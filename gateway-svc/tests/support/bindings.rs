//! A fake connector and a fake sink service, each with one kind of bindings.

use std::collections::HashMap;
use std::sync::Arc;

use mesh::Caller;
use mesh::server::Grpc;
use parking_lot::Mutex;
use proto::binding::v1::{BindingState, BindingStatus};
use proto::connector::v1::events_server::{Events, EventsServer};
use proto::connector::v1::{
    CheckEventsRequest, CheckEventsResponse, EventCounts, EventLedger, EventStatus, GetEventStatusRequest,
    GetEventStatusResponse, ListEventLedgersRequest, ListEventLedgersResponse,
};
use proto::registry::v1::Binding;
use proto::sink::v1::sinks_server::{Sinks, SinksServer};
use proto::sink::v1::{
    CheckSinksRequest, CheckSinksResponse, GetSinkStatusRequest, GetSinkStatusResponse,
    ListSinkLedgersRequest, ListSinkLedgersResponse, SinkCounts, SinkLedger, SinkStatus,
};
use tonic::{Request, Response, Status};

use super::dead_letters::{EventLetters, Letters, SinkLetters};
use super::{Failure, fail_if_set};

type Reply<T> = Result<Response<T>, Status>;

/// How the services answer requests for states.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Answers {
    #[default]
    AtOnce,
    /// Requests that wait for the first attempt never return.
    OnlyWhoDoesNotWait,
    Never,
}

/// The state of a fake connector or sink service.
#[derive(Debug, Default)]
pub struct Known<C> {
    /// Statuses by the bindings' ids. Other bindings are connected.
    statuses: HashMap<String, BindingStatus>,
    pub counts: C,
    pub answers: Answers,
    /// Module, function and counts of each binding. Only administrators have access to the module `root`.
    pub ledgers: Vec<(&'static str, &'static str, C)>,
}

impl<C> Known<C> {
    pub fn state(&mut self, id: &str, state: BindingState, message: &str) {
        let status = BindingStatus {
            id: id.into(),
            state: state.into(),
            message: message.into(),
            since_ms: 1_700_000_000_000,
            last_activity_ms: 0,
        };
        self.statuses.insert(id.into(), status);
    }

    fn status(&self, id: String) -> BindingStatus {
        self.statuses.get(&id).cloned().unwrap_or_else(|| BindingStatus {
            id,
            state: BindingState::Connected.into(),
            message: String::new(),
            since_ms: 1_700_000_000_000,
            last_activity_ms: 1_700_000_001_000,
        })
    }
}

#[derive(Clone, Default)]
pub struct FakeConnector {
    pub known: Arc<Mutex<Known<EventCounts>>>,
    pub letters: Letters,
    /// The error of the next request for ledgers.
    pub failure: Failure,
}

#[derive(Clone, Default)]
pub struct FakeSink {
    pub known: Arc<Mutex<Known<SinkCounts>>>,
    pub letters: Letters,
    /// The error of the next request for ledgers.
    pub failure: Failure,
}

impl FakeConnector {
    /// Its gRPC services.
    pub fn services(&self) -> Grpc {
        Grpc::default().service(EventsServer::new(self.clone())).service(EventLetters::server(&self.letters))
    }
}

impl FakeSink {
    /// Its gRPC services.
    pub fn services(&self) -> Grpc {
        Grpc::default().service(SinksServer::new(self.clone())).service(SinkLetters::server(&self.letters))
    }
}

fn problem(binding: &Binding, known: &str) -> String {
    match binding.r#type == known {
        true => String::new(),
        false => format!("not_implemented: {}; there is {known}", binding.r#type),
    }
}

async fn answer(answers: Answers, wait: bool) {
    match (answers, wait) {
        (Answers::AtOnce, _) | (Answers::OnlyWhoDoesNotWait, false) => {}
        _ => std::future::pending().await,
    }
}

/// The ledgers that the caller has access to, each with an id.
fn reached<C: Copy>(
    ledgers: &[(&'static str, &'static str, C)],
    caller: &Caller,
) -> Vec<(String, String, String, C)> {
    let reached = ledgers.iter().enumerate().filter(|(_, (module, ..))| match *module {
        "root" => caller.reaches("root"),
        _ => true,
    });
    reached
        .map(|(i, (module, function, c))| (i.to_string(), (*module).into(), (*function).into(), *c))
        .collect()
}

#[tonic::async_trait]
impl Events for FakeConnector {
    async fn check_events(&self, request: Request<CheckEventsRequest>) -> Reply<CheckEventsResponse> {
        let problems = request.get_ref().events.iter().map(|event| problem(event, "mqtt")).collect();
        Ok(Response::new(CheckEventsResponse { problems }))
    }

    async fn get_event_status(
        &self,
        request: Request<GetEventStatusRequest>,
    ) -> Reply<GetEventStatusResponse> {
        let GetEventStatusRequest { ids, wait } = request.into_inner();
        let answers = self.known.lock().answers;
        answer(answers, wait).await;
        let known = self.known.lock();
        let status = |id| EventStatus { status: Some(known.status(id)), counts: Some(known.counts) };
        Ok(Response::new(GetEventStatusResponse { statuses: ids.into_iter().map(status).collect() }))
    }

    async fn list_event_ledgers(
        &self,
        request: Request<ListEventLedgersRequest>,
    ) -> Reply<ListEventLedgersResponse> {
        fail_if_set(&self.failure)?;
        let ledgers = reached(&self.known.lock().ledgers, &Caller::of(&request));
        let ledger = |(binding_id, module, function, counts)| EventLedger {
            binding_id,
            binding_type: "mqtt".into(),
            function_id: String::new(),
            module,
            function,
            counts: Some(counts),
        };
        let ledgers = ledgers.into_iter().map(ledger).collect();
        Ok(Response::new(ListEventLedgersResponse { ledgers, ..ListEventLedgersResponse::default() }))
    }
}

#[tonic::async_trait]
impl Sinks for FakeSink {
    async fn check_sinks(&self, request: Request<CheckSinksRequest>) -> Reply<CheckSinksResponse> {
        let problems = request.get_ref().sinks.iter().map(|sink| problem(sink, "couchdb")).collect();
        Ok(Response::new(CheckSinksResponse { problems }))
    }

    async fn get_sink_status(&self, request: Request<GetSinkStatusRequest>) -> Reply<GetSinkStatusResponse> {
        let GetSinkStatusRequest { ids, wait } = request.into_inner();
        let answers = self.known.lock().answers;
        answer(answers, wait).await;
        let known = self.known.lock();
        let status = |id| SinkStatus { status: Some(known.status(id)), counts: Some(known.counts) };
        Ok(Response::new(GetSinkStatusResponse { statuses: ids.into_iter().map(status).collect() }))
    }

    async fn list_sink_ledgers(
        &self,
        request: Request<ListSinkLedgersRequest>,
    ) -> Reply<ListSinkLedgersResponse> {
        fail_if_set(&self.failure)?;
        let ledgers = reached(&self.known.lock().ledgers, &Caller::of(&request));
        let ledger = |(binding_id, module, function, counts)| SinkLedger {
            binding_id,
            binding_type: "couchdb".into(),
            function_id: String::new(),
            module,
            function,
            counts: Some(counts),
        };
        let ledgers = ledgers.into_iter().map(ledger).collect();
        Ok(Response::new(ListSinkLedgersResponse { ledgers, ..ListSinkLedgersResponse::default() }))
    }
}
