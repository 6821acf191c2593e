//! `funless.connector.v1.DeadLetters`.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use futures::StreamExt as _;
use futures::stream;
use mesh::dead_letters::{self, Selection};
use mesh::deadline::Deadline;
use mesh::telemetry::{self, TraceParent};
use mesh::{Caller, Error, Reason};
use parking_lot::Mutex;
use proto::connector::v1::dead_letters_server::DeadLetters;
use proto::deadletter::v1::{
    DeadLetter, DeadLetterSelection, GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest,
    ListDeadLettersResponse, PurgeDeadLettersRequest, PurgeDeadLettersResponse, RedriveDeadLettersRequest,
    RedriveDeadLettersResponse, RedriveFailure,
};
use proto::scheduler::v1::InvokeRequest;
use tonic::{Request, Response, Status};
use tracing::Instrument as _;

use crate::error::{closed, journal_error};
use crate::invoker::{Failure, Invoker};
use crate::journal::{Change, DeadLetterPage, DeadLetterRecord, Journal, Write};
use crate::metrics::Metrics;
use crate::trace::redrive_span;

/// Dead letters of one call that are redriven concurrently.
const CONCURRENT_REDRIVES: usize = 16;

/// Lists, redrives and purges dead letters.
#[derive(Debug)]
pub(crate) struct DeadLettersHandler {
    journal: Journal,
    invoker: Invoker,
    /// The ids of the dead letters that are being redriven here.
    redriving: Arc<Mutex<HashSet<String>>>,
    metrics: Metrics,
}

impl DeadLettersHandler {
    /// Serves the dead letters of `journal`, and invokes their functions through `invoker`.
    pub(crate) fn new(journal: Journal, invoker: Invoker, metrics: Metrics) -> Self {
        Self { journal, invoker, redriving: Arc::default(), metrics }
    }

    async fn find(&self, caller: &Caller, id: &str) -> Result<DeadLetterRecord, Error> {
        let letter = self.journal.dead_letter(caller, id).await.map_err(journal_error)?;
        letter.ok_or_else(|| Error::new(Reason::DeadLetterNotFound, format!("no dead letter {id}")))
    }

    /// The ids that a selection gives, or those of the dead letters that match its filter.
    async fn select(
        &self,
        caller: &Caller,
        selection: Option<DeadLetterSelection>,
    ) -> Result<Vec<String>, Error> {
        let (filter, limit) = match Selection::try_from(selection)? {
            Selection::Ids(ids) => return Ok(ids),
            Selection::Matching { filter, limit } => (filter, limit),
        };
        let page = self.journal.dead_letters(caller, &filter, "", limit).await;
        Ok(page.map_err(journal_error)?.letters.into_iter().map(|letter| letter.id).collect())
    }

    /// Invokes the function of a dead letter as the same invocation. Success deletes the letter.
    async fn redrive(&self, caller: &Caller, id: &str, deadline: Option<Deadline>) -> Result<(), String> {
        let Some(_redriving) = Redriving::begin(&self.redriving, id) else {
            return Err("it is being redriven already".into());
        };
        let DeadLetterRecord { letter, trace } =
            self.find(caller, id).await.map_err(|error| error.message)?;
        if letter.invalid {
            return Err(format!("an invalid event cannot be redriven: {}", letter.reason));
        }
        let span = redrive_span(&letter, trace);
        let outcome = self.invoke_again(letter, deadline).instrument(span.clone()).await;
        outcome.inspect_err(|_| telemetry::failed(&span, "redrive_failed"))
    }

    async fn invoke_again(&self, letter: DeadLetter, deadline: Option<Deadline>) -> Result<(), String> {
        let id = letter.id;
        let binding_id: Arc<str> = letter.binding_id.into();
        let request = InvokeRequest {
            module: letter.module,
            function: letter.function,
            function_id: letter.function_id,
            args: letter.payload,
            invocation_id: letter.invocation_id,
            scheduling: None,
            min_revision: 0,
            latest_revision: 0,
        };
        let (change, outcome) = match self.invoker.invoke(request, deadline).await {
            Ok(()) => (Change::Redriven(id), Ok(())),
            Err(Failure::Unavailable { message, .. } | Failure::ResultNotTaken { message, .. }) => {
                return Err(message);
            }
            Err(Failure::Transient { message, .. } | Failure::Permanent(message)) => {
                let trace = TraceParent::current();
                (Change::RedriveFailed { id, reason: message.clone(), trace }, Err(message))
            }
        };
        let written = self.journal.write(Write { binding_id, change }).await;
        let found = written.map_err(|error| closed(error).message)?;
        if outcome.is_ok() {
            self.metrics.redriven.inc_by(found);
        }
        outcome
    }
}

/// A dead letter that is being redriven.
struct Redriving {
    redriving: Arc<Mutex<HashSet<String>>>,
    id: String,
}

impl Redriving {
    fn begin(redriving: &Arc<Mutex<HashSet<String>>>, id: &str) -> Option<Self> {
        let is_first = redriving.lock().insert(id.to_owned());
        is_first.then(|| Self { redriving: Arc::clone(redriving), id: id.to_owned() })
    }
}

impl Drop for Redriving {
    fn drop(&mut self) {
        self.redriving.lock().remove(&self.id);
    }
}

#[tonic::async_trait]
impl DeadLetters for DeadLettersHandler {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let caller = Caller::of(&request);
        let ListDeadLettersRequest { filter, page_size, after } = request.into_inner();
        let filter = filter.unwrap_or_default();
        let page =
            self.journal.dead_letters(&caller, &filter, &after, dead_letters::page_size(page_size)).await;
        let DeadLetterPage { letters, more } = page.map_err(journal_error)?;
        Ok(Response::new(ListDeadLettersResponse { letters, more }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        let caller = Caller::of(&request);
        let DeadLetterRecord { letter, .. } = self.find(&caller, &request.get_ref().id).await?;
        Ok(Response::new(GetDeadLetterResponse { letter: Some(letter) }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<RedriveDeadLettersResponse>, Status> {
        let (caller, deadline) = (Caller::of(&request), Deadline::of(&request));
        let ids = self.select(&caller, request.into_inner().selection).await?;
        let redrive = |id: String| {
            let caller = &caller;
            async move {
                self.redrive(caller, &id, deadline).await.map_err(|reason| RedriveFailure { id, reason })
            }
        };
        let outcomes: Vec<_> = stream::iter(ids).map(redrive).buffered(CONCURRENT_REDRIVES).collect().await;
        let mut response = RedriveDeadLettersResponse::default();
        for outcome in outcomes {
            match outcome {
                Ok(()) => response.redriven += 1,
                Err(failure) => response.failures.push(failure),
            }
        }
        Ok(Response::new(response))
    }

    async fn purge_dead_letters(
        &self,
        request: Request<PurgeDeadLettersRequest>,
    ) -> Result<Response<PurgeDeadLettersResponse>, Status> {
        let caller = Caller::of(&request);
        let ids = self.select(&caller, request.into_inner().selection).await?;
        let mut of_bindings = BTreeMap::<String, Vec<String>>::new();
        for letter in self.journal.dead_letter_heads(&caller, &ids).await.map_err(journal_error)? {
            of_bindings.entry(letter.binding_id).or_default().push(letter.id);
        }
        let mut purged = 0;
        for (binding_id, ids) in of_bindings {
            let write = Write { binding_id: binding_id.into(), change: Change::Purge(ids) };
            let written = self.journal.try_write(write).await.map_err(closed)?;
            let count = written.map_err(journal_error)?;
            self.metrics.purged.inc_by(count);
            purged += u32::try_from(count).unwrap_or(u32::MAX);
        }
        Ok(Response::new(PurgeDeadLettersResponse { purged }))
    }
}
