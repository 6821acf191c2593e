//! A fake store of dead letters, in memory.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use mesh::{Caller, Error, Reason};
use parking_lot::Mutex;
use proto::connector::v1::dead_letters_server as connector;
use proto::deadletter::v1::*;
use proto::registry::v1::BindingRole;
use proto::sink::v1::dead_letters_server as sink;
use tonic::{Request, Response, Status};

use super::{Failure, fail_if_set};

type Reply<T> = Result<Response<T>, Status>;

/// The dead letters of one service. Clones share them.
#[derive(Clone, Default)]
pub struct Letters {
    pub state: Arc<Mutex<State>>,
    /// The error of the next call.
    pub failure: Failure,
}

#[derive(Default)]
pub struct State {
    /// Dead letters by id.
    pub letters: BTreeMap<String, DeadLetter>,
    /// The reasons of dead letters that fail again, by id.
    pub poison: HashMap<String, &'static str>,
    /// The filter of the last call.
    pub asked: Option<DeadLetterFilter>,
}

/// The maximum number of dead letters in a page.
const MAX_PAGE: usize = 3;

/// The id of dead letter number `n`. Ids have the order of their numbers.
pub fn id(n: usize) -> String {
    format!("01890000-0000-7000-8000-{n:012}")
}

impl Letters {
    /// Adds dead letter number `n`, of a function `m/f` that belongs to `owner`.
    pub fn put(&self, n: usize, role: BindingRole, owner: &str, payload: &'static str) {
        let letter = DeadLetter {
            id: id(n),
            role: role.into(),
            binding_id: "b".into(),
            binding_type: "kind".into(),
            function_id: "id-f".into(),
            module: "m".into(),
            function: "f".into(),
            owner: owner.into(),
            invocation_id: format!("invocation-{n}"),
            reason: "no luck".into(),
            attempts: 5,
            received_at_ms: 1_700_000_000_000,
            dead_lettered_at_ms: 1_700_000_001_000,
            payload_bytes: payload.len() as u64,
            payload: payload.into(),
            trace_id: format!("trace-{n}"),
            invalid: false,
        };
        self.state.lock().letters.insert(letter.id.clone(), letter);
    }

    /// The number of dead letters.
    pub fn count(&self) -> usize {
        self.state.lock().letters.len()
    }

    fn list(&self, caller: &Caller, request: ListDeadLettersRequest) -> ListDeadLettersResponse {
        let mut state = self.state.lock();
        state.asked = request.filter;
        let reached = state.letters.values().filter(|letter| caller.reaches(&letter.owner));
        let mut letters: Vec<_> = reached.filter(|letter| letter.id > request.after).cloned().collect();
        let max = MAX_PAGE.min(request.page_size as usize);
        let more = letters.len() > max;
        letters.truncate(max);
        for letter in &mut letters {
            letter.payload.clear();
        }
        ListDeadLettersResponse { letters, more }
    }

    fn get(&self, caller: &Caller, id: &str) -> Result<GetDeadLetterResponse, Status> {
        let letter = self.state.lock().letters.get(id).cloned();
        let letter = letter.filter(|letter| caller.reaches(&letter.owner));
        let none = || Error::new(Reason::DeadLetterNotFound, "no such dead letter");
        Ok(GetDeadLetterResponse { letter: Some(letter.ok_or_else(none)?) })
    }

    /// The selected ids.
    fn select(&self, caller: &Caller, selection: Option<DeadLetterSelection>) -> Vec<String> {
        let DeadLetterSelection { ids, filter, limit } = selection.expect("a selection");
        let mut state = self.state.lock();
        state.asked = filter;
        let reached = state.letters.values().filter(|letter| caller.reaches(&letter.owner));
        let selected = reached.filter(|letter| ids.is_empty() || ids.contains(&letter.id));
        let max = if limit == 0 { usize::MAX } else { limit as usize };
        selected.take(max).map(|letter| letter.id.clone()).collect()
    }

    fn redrive(&self, caller: &Caller, request: RedriveDeadLettersRequest) -> RedriveDeadLettersResponse {
        let selected = self.select(caller, request.selection);
        let mut state = self.state.lock();
        let mut response = RedriveDeadLettersResponse::default();
        for id in selected {
            if let Some(reason) = state.poison.get(&id) {
                response.failures.push(RedriveFailure { id, reason: (*reason).into() });
            } else {
                state.letters.remove(&id);
                response.redriven += 1;
            }
        }
        response
    }

    fn purge(&self, caller: &Caller, request: PurgeDeadLettersRequest) -> PurgeDeadLettersResponse {
        let selected = self.select(caller, request.selection);
        let mut state = self.state.lock();
        state.letters.retain(|id, _| !selected.contains(id));
        PurgeDeadLettersResponse { purged: u32::try_from(selected.len()).expect("few") }
    }
}

/// Serves dead letters as one of the two services.
macro_rules! served {
    ($name:ident, $service:ident) => {
        pub struct $name(Letters);

        impl $name {
            pub fn server(letters: &Letters) -> $service::DeadLettersServer<Self> {
                $service::DeadLettersServer::new(Self(letters.clone()))
            }
        }

        #[tonic::async_trait]
        impl $service::DeadLetters for $name {
            async fn list_dead_letters(
                &self,
                request: Request<ListDeadLettersRequest>,
            ) -> Reply<ListDeadLettersResponse> {
                fail_if_set(&self.0.failure)?;
                let caller = Caller::of(&request);
                Ok(Response::new(self.0.list(&caller, request.into_inner())))
            }

            async fn get_dead_letter(
                &self,
                request: Request<GetDeadLetterRequest>,
            ) -> Reply<GetDeadLetterResponse> {
                fail_if_set(&self.0.failure)?;
                let caller = Caller::of(&request);
                Ok(Response::new(self.0.get(&caller, &request.into_inner().id)?))
            }

            async fn redrive_dead_letters(
                &self,
                request: Request<RedriveDeadLettersRequest>,
            ) -> Reply<RedriveDeadLettersResponse> {
                fail_if_set(&self.0.failure)?;
                let caller = Caller::of(&request);
                Ok(Response::new(self.0.redrive(&caller, request.into_inner())))
            }

            async fn purge_dead_letters(
                &self,
                request: Request<PurgeDeadLettersRequest>,
            ) -> Reply<PurgeDeadLettersResponse> {
                fail_if_set(&self.0.failure)?;
                let caller = Caller::of(&request);
                Ok(Response::new(self.0.purge(&caller, request.into_inner())))
            }
        }
    };
}

served!(EventLetters, connector);
served!(SinkLetters, sink);
