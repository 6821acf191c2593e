//! `funless.sink.v1.DeadLetters`.

use std::collections::HashSet;
use std::time::Duration;

use mesh::bindings::find_existing;
use mesh::dead_letters::{self, MAX_DEAD_LETTERS, Selection};
use mesh::deadline::Deadline;
use mesh::telemetry::{self, TraceParent};
use mesh::{Caller, Error};
use proto::deadletter::v1::{
    GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest, ListDeadLettersResponse,
    PurgeDeadLettersRequest, PurgeDeadLettersResponse, RedriveDeadLettersRequest, RedriveDeadLettersResponse,
    RedriveFailure,
};
use proto::sink::v1::dead_letters_server::DeadLetters;
use tonic::{Request, Response, Status};

use super::Handler;
use crate::delivery::REMOVED;
use crate::error::{Result as SinkResult, SinkError};
use crate::outbox::{Amount, LetterFilter, LetterKey};
use crate::trace::redrive_span;

/// How long the registry may take to look up bindings.
const MAX_WAIT: Duration = Duration::from_secs(5);

#[tonic::async_trait]
impl DeadLetters for Handler {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let reached = LetterFilter::reached_by(&Caller::of(&request));
        let ListDeadLettersRequest { filter, page_size, after } = request.into_inner();
        let filter = reached.and(&filter.unwrap_or_default());
        let page = dead_letters::page_size(page_size) as usize;
        // One more, to see whether there are more.
        let mut letters = self.outbox.letters(filter, &after, page as u64 + 1).await?;
        let more = letters.len() > page;
        letters.truncate(page);
        Ok(Response::new(ListDeadLettersResponse { letters, more }))
    }

    async fn get_dead_letter(
        &self,
        request: Request<GetDeadLetterRequest>,
    ) -> Result<Response<GetDeadLetterResponse>, Status> {
        let reached = LetterFilter::reached_by(&Caller::of(&request));
        let GetDeadLetterRequest { id } = request.into_inner();
        let letter = self.outbox.letter(reached.with_ids(std::slice::from_ref(&id))).await?;
        let letter = letter.ok_or(SinkError::LetterNotFound(id))?;
        Ok(Response::new(GetDeadLetterResponse { letter: Some(letter) }))
    }

    async fn redrive_dead_letters(
        &self,
        request: Request<RedriveDeadLettersRequest>,
    ) -> Result<Response<RedriveDeadLettersResponse>, Status> {
        let caller = Caller::of(&request);
        let deadline = Deadline::of_at_most(&request, MAX_WAIT);
        let selection = Selection::try_from(request.into_inner().selection)?;
        let letters = self.select(&caller, &selection).await?;
        // A result for a removed sink would only be dead-lettered again.
        let existing = self.existing(&letters, deadline).await?;
        let mut failures = not_found(&selection, &letters);
        let (mut redriven, mut reservations) = (Vec::new(), Vec::new());
        for letter in letters {
            if !existing.contains(&letter.binding_id) {
                failures.push(RedriveFailure { id: letter.id, reason: REMOVED.to_owned() });
                continue;
            }
            match self.outbox.reserve(Amount { rows: 1, bytes: letter.size }) {
                Some(reservation) => {
                    redriven.push(letter);
                    reservations.push(reservation);
                }
                None => {
                    failures.push(RedriveFailure { id: letter.id, reason: SinkError::Full.to_string() });
                }
            }
        }
        let span = redrive_span(&redriven);
        let trace = TraceParent::of(&span).or_else(TraceParent::current);
        let ids = redriven.into_iter().map(|letter| letter.id).collect();
        let redriven = self.outbox.redrive(ids, trace, reservations).await;
        let redriven = redriven.inspect_err(|_| telemetry::failed(&span, "redrive_failed"))?;
        self.metrics.redriven.inc_by(redriven);
        Ok(Response::new(RedriveDeadLettersResponse { redriven: to_u32(redriven), failures }))
    }

    async fn purge_dead_letters(
        &self,
        request: Request<PurgeDeadLettersRequest>,
    ) -> Result<Response<PurgeDeadLettersResponse>, Status> {
        let caller = Caller::of(&request);
        let selection = Selection::try_from(request.into_inner().selection)?;
        let ids = self.select(&caller, &selection).await?.into_iter().map(|letter| letter.id);
        let purged = self.outbox.purge(ids.collect()).await?;
        self.metrics.purged.inc_by(purged);
        Ok(Response::new(PurgeDeadLettersResponse { purged: to_u32(purged) }))
    }
}

impl Handler {
    /// The bindings of these dead letters that exist.
    async fn existing(&self, letters: &[LetterKey], deadline: Deadline) -> Result<HashSet<String>, Error> {
        let ids: HashSet<_> = letters.iter().map(|letter| letter.binding_id.clone()).collect();
        if ids.is_empty() {
            return Ok(ids);
        }
        find_existing(&self.lookup.registry, ids.into_iter().collect(), deadline).await
    }

    /// The selected dead letters that the caller may access.
    async fn select(&self, caller: &Caller, selection: &Selection) -> SinkResult<Vec<LetterKey>> {
        let reached = LetterFilter::reached_by(caller);
        let (filter, limit) = match selection {
            Selection::Ids(ids) => (reached.with_ids(ids), MAX_DEAD_LETTERS),
            Selection::Matching { filter, limit } => (reached.and(filter), *limit),
        };
        self.outbox.letter_keys(filter, limit.into()).await
    }
}

/// A failure for each selected id that is not among `letters`.
fn not_found(selection: &Selection, letters: &[LetterKey]) -> Vec<RedriveFailure> {
    let Selection::Ids(ids) = selection else { return Vec::new() };
    let found: HashSet<_> = letters.iter().map(|letter| letter.id.as_str()).collect();
    let missing = ids.iter().filter(|id| !found.contains(id.as_str()));
    let failure = |id: &String| RedriveFailure {
        id: id.clone(),
        reason: SinkError::LetterNotFound(id.clone()).to_string(),
    };
    missing.map(failure).collect()
}

fn to_u32(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
