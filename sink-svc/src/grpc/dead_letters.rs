//! `funless.sink.v1.DeadLetters`.

use std::collections::HashSet;
use std::time::Duration;

use mesh::bindings::find_existing;
use mesh::deadline::Deadline;
use mesh::telemetry::{self, TraceParent};
use mesh::{Caller, Error};
use proto::deadletter::v1::{
    DeadLetterSelection, GetDeadLetterRequest, GetDeadLetterResponse, ListDeadLettersRequest,
    ListDeadLettersResponse, PurgeDeadLettersRequest, PurgeDeadLettersResponse, RedriveDeadLettersRequest,
    RedriveDeadLettersResponse, RedriveFailure,
};
use proto::sink::v1::dead_letters_server::DeadLetters;
use tonic::{Request, Response, Status};

use super::Handler;
use crate::delivery::REMOVED;
use crate::error::{Result as SinkResult, SinkError};
use crate::outbox::{Amount, LetterFilter, LetterKey, MAX_LETTERS};
use crate::trace::redrive_span;

/// How long the registry may take to say which sinks there are.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

#[tonic::async_trait]
impl DeadLetters for Handler {
    async fn list_dead_letters(
        &self,
        request: Request<ListDeadLettersRequest>,
    ) -> Result<Response<ListDeadLettersResponse>, Status> {
        let reached = LetterFilter::reached_by(&Caller::of(&request));
        let ListDeadLettersRequest { filter, page_size, after } = request.into_inner();
        let filter = reached.and(&filter.unwrap_or_default());
        let page = limited(page_size) as usize;
        // One more tells whether there are more.
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
        let deadline = Deadline::of_at_most(&request, LONGEST_WAIT);
        let selection = request.into_inner().selection.unwrap_or_default();
        let letters = self.select(&caller, &selection).await?;
        // A result for a sink that is gone would only die again.
        let existing = self.existing(&letters, deadline).await?;
        let mut failures = not_found(&selection, &letters);
        let (mut redriven, mut rooms) = (Vec::new(), Vec::new());
        for letter in letters {
            if !existing.contains(&letter.binding_id) {
                failures.push(RedriveFailure { id: letter.id, reason: REMOVED.to_owned() });
                continue;
            }
            match self.outbox.room(Amount { rows: 1, bytes: letter.size }) {
                Some(room) => {
                    redriven.push(letter);
                    rooms.push(room);
                }
                None => {
                    failures.push(RedriveFailure { id: letter.id, reason: SinkError::Full.to_string() });
                }
            }
        }
        let span = redrive_span(&redriven);
        let trace = TraceParent::of(&span).or_else(TraceParent::current);
        let ids = redriven.into_iter().map(|letter| letter.id).collect();
        let redriven = self.outbox.redrive(ids, trace, rooms).await;
        let redriven = redriven.inspect_err(|_| telemetry::failed(&span, "redrive_failed"))?;
        self.metrics.redriven.inc_by(redriven);
        Ok(Response::new(RedriveDeadLettersResponse { redriven: to_u32(redriven), failures }))
    }

    async fn purge_dead_letters(
        &self,
        request: Request<PurgeDeadLettersRequest>,
    ) -> Result<Response<PurgeDeadLettersResponse>, Status> {
        let caller = Caller::of(&request);
        let selection = request.into_inner().selection.unwrap_or_default();
        let ids = self.select(&caller, &selection).await?.into_iter().map(|letter| letter.id);
        let purged = self.outbox.purge(ids.collect()).await?;
        self.metrics.purged.inc_by(purged);
        Ok(Response::new(PurgeDeadLettersResponse { purged: to_u32(purged) }))
    }
}

impl Handler {
    /// Those of the letters' bindings that the registry has.
    async fn existing(&self, letters: &[LetterKey], deadline: Deadline) -> Result<HashSet<String>, Error> {
        let ids: HashSet<_> = letters.iter().map(|letter| letter.binding_id.clone()).collect();
        if ids.is_empty() {
            return Ok(ids);
        }
        find_existing(&self.lookup.registry, ids.into_iter().collect(), deadline).await
    }

    /// The selected letters, of those that the caller reaches.
    async fn select(&self, caller: &Caller, selection: &DeadLetterSelection) -> SinkResult<Vec<LetterKey>> {
        let reached = LetterFilter::reached_by(caller);
        if selection.ids.is_empty() {
            let filter = reached.and(&selection.filter.clone().unwrap_or_default());
            return self.outbox.letter_keys(filter, limited(selection.limit).into()).await;
        }
        if selection.ids.len() > MAX_LETTERS as usize {
            return Err(SinkError::TooManyIds(MAX_LETTERS));
        }
        self.outbox.letter_keys(reached.with_ids(&selection.ids), MAX_LETTERS.into()).await
    }
}

/// The selected ids that are none of these letters'.
fn not_found(selection: &DeadLetterSelection, letters: &[LetterKey]) -> Vec<RedriveFailure> {
    let found: HashSet<_> = letters.iter().map(|letter| letter.id.as_str()).collect();
    let missing = selection.ids.iter().filter(|id| !found.contains(id.as_str()));
    let failure = |id: &String| RedriveFailure {
        id: id.clone(),
        reason: SinkError::LetterNotFound(id.clone()).to_string(),
    };
    missing.map(failure).collect()
}

/// A number of letters as it was asked for; 0: the most.
fn limited(asked: u32) -> u32 {
    if asked == 0 { MAX_LETTERS } else { asked.min(MAX_LETTERS) }
}

fn to_u32(count: u64) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
