//! Writing: what has become of events, many changes in one transaction.

use std::collections::BTreeMap;
use std::sync::Arc;

use mesh::clock::now_ms;
use mesh::database::{self, DatabaseError};
use mesh::telemetry::TraceParent;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query, Value};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseConnection, DatabaseTransaction, EntityTrait as _,
    QueryFilter as _, QuerySelect as _, QueryTrait as _,
};
use tokio::sync::oneshot;
use uuid::Uuid;

use super::entity::{cursor, dead_letter, in_flight, ledger};
use super::{ANSWER_TIMEOUT, Burial, Entry, Result};
use crate::binding::BoundFunction;

/// A change to what is known of one binding.
#[derive(Debug, Clone)]
pub(crate) struct Write {
    pub(crate) binding_id: Arc<str>,
    pub(crate) change: Change,
}

/// What has happened. Each counts once, however often it is written; only [`Change::Pass`], which leaves no
/// row to know it by, may count twice when the answer to it was lost.
///
/// A tenure that has lost its lease may not know so yet. What it began after its successor has read the
/// journal would be an event that the successor does not know, and begins a second time. So each tenure
/// has an epoch, and only that of the last one begins events; of a former one they are not found.
#[derive(Debug, Clone)]
pub(crate) enum Change {
    /// A tenure of the binding begins. Opens its ledger, or brings the function's names in it up to date.
    /// The tenure's epoch is what this gives.
    Open(Arc<BoundFunction>),
    /// An event has come in, and is going to be worked on.
    Begin { epoch: u64, entry: Entry },
    /// An event has come in, and its payload is not what the binding takes.
    Refuse { epoch: u64, entry: Entry },
    /// The source need not send the event again. What could not be handled is a dead letter, unless the
    /// event has been ended before.
    End { id: Uuid, letter: Option<Box<Burial>> },
    /// An event came in and is done with, whose source never sends it again. Counted, with no row.
    Pass { refused: bool, letter: Option<Box<Burial>> },
    /// The source has these events no more, and they are not worked on.
    Forget(Vec<Uuid>),
    /// The source has none of the binding's events any more.
    ForgetAll,
    /// The source knows that these events have ended.
    Clear(Vec<Uuid>),
    /// The cursor stands somewhere from now on, unless it does already.
    Place(i64),
    /// Moves the cursor and begins the event that goes with it, if the cursor still is at `from`; else
    /// a later tenure has moved it, and nothing is found.
    Advance { epoch: u64, from: i64, to: i64, entry: Entry },
    /// A dead letter was handled after all.
    Redrive(String),
    /// A dead letter could not be handled again, in this span.
    Rebury { id: String, reason: String, trace: Option<TraceParent> },
    /// Dead letters are thrown away.
    Purge(Vec<String>),
}

/// A write, and who waits for it.
#[derive(Debug)]
pub(super) struct Submission {
    pub(super) write: Write,
    pub(super) committed: oneshot::Sender<Result<u64>>,
}

/// Writes a group in one transaction. When one of them cannot be written, the others are, each by itself.
pub(super) async fn commit(db: &DatabaseConnection, group: Vec<Submission>) {
    let (writes, callers): (Vec<_>, Vec<_>) =
        group.into_iter().map(|submission| (submission.write, submission.committed)).unzip();
    match commit_in_time(db, &writes).await {
        Ok(found) => tell(callers, found.into_iter().map(Ok)),
        Err(DatabaseError::Failed(_)) if writes.len() > 1 => commit_apart(db, writes, callers).await,
        Err(error) => {
            log_failure(&error, &writes);
            tell(callers, std::iter::repeat(Err(error)));
        }
    }
}

/// Writes each by itself, as long as the database answers.
async fn commit_apart(
    db: &DatabaseConnection,
    writes: Vec<Write>,
    callers: Vec<oneshot::Sender<Result<u64>>>,
) {
    let mut away = None;
    for (write, caller) in writes.into_iter().zip(callers) {
        let outcome = match &away {
            Some(error) => Err(DatabaseError::clone(error)),
            None => commit_in_time(db, std::slice::from_ref(&write)).await.map(|found| found[0]),
        };
        if let Err(error) = &outcome
            && away.is_none()
        {
            log_failure(error, &[write]);
            away = (!matches!(error, DatabaseError::Failed(_))).then(|| error.clone());
        }
        tell(vec![caller], [outcome]);
    }
}

fn log_failure(error: &DatabaseError, writes: &[Write]) {
    match error {
        DatabaseError::Failed(_) => {
            tracing::error!(%error, binding = &*writes[0].binding_id, "not written");
        }
        _ => tracing::debug!(%error, writes = writes.len(), "not written yet"),
    }
}

fn tell(callers: Vec<oneshot::Sender<Result<u64>>>, outcomes: impl IntoIterator<Item = Result<u64>>) {
    for (caller, outcome) in callers.into_iter().zip(outcomes) {
        // Who went away does not want to know.
        let _ = caller.send(outcome);
    }
}

/// A database that falls silent does not hold up this only writer for ever.
async fn commit_in_time(db: &DatabaseConnection, writes: &[Write]) -> Result<Vec<u64>> {
    let committed = tokio::time::timeout(ANSWER_TIMEOUT, try_commit(db, writes)).await;
    committed.unwrap_or_else(|_| Err(DatabaseError::Uncertain("it does not answer".into())))
}

/// Gives for each write how much it has found of what it changes.
async fn try_commit(db: &DatabaseConnection, writes: &[Write]) -> Result<Vec<u64>> {
    // Ordered, so that two replicas never wait for each other's rows.
    let mut batches = BTreeMap::<&str, Batch<'_>>::new();
    for (index, write) in writes.iter().enumerate() {
        batches.entry(&write.binding_id).or_default().add(index, &write.change);
    }
    let transaction = database::begin_write(db).await?;
    let mut found = vec![1; writes.len()];
    for (binding_id, batch) in &batches {
        let binding = BindingWriter { transaction: &transaction, binding_id, now_ms: now_ms() };
        binding.apply(batch, &mut found).await?;
    }
    transaction.commit().await.map_err(DatabaseError::of_commit)?;
    Ok(found)
}

/// The changes of one binding, those that come in masses sorted so that each sort is one statement.
#[derive(Default)]
struct Batch<'a> {
    opened: Vec<(usize, &'a BoundFunction)>,
    begun: Vec<Begun<'a>>,
    refused: Vec<Begun<'a>>,
    ended: Vec<Uuid>,
    /// With their letters.
    died: Vec<(usize, Uuid, &'a Burial)>,
    passed: i64,
    passed_refused: i64,
    passed_letters: Vec<&'a Burial>,
    cleared: Vec<Uuid>,
    /// The others.
    single: Vec<(usize, &'a Change)>,
}

/// An event that a tenure has begun.
struct Begun<'a> {
    /// The change's place in the group.
    index: usize,
    epoch: u64,
    entry: &'a Entry,
}

impl<'a> Batch<'a> {
    fn add(&mut self, index: usize, change: &'a Change) {
        match change {
            Change::Open(bound) => self.opened.push((index, bound)),
            Change::Begin { epoch, entry } => self.begun.push(Begun { index, epoch: *epoch, entry }),
            Change::Refuse { epoch, entry } => self.refused.push(Begun { index, epoch: *epoch, entry }),
            Change::End { id, letter: None } => self.ended.push(*id),
            Change::End { id, letter: Some(letter) } => self.died.push((index, *id, letter)),
            Change::Pass { refused, letter } => {
                self.passed += 1;
                self.passed_refused += i64::from(*refused);
                self.passed_letters.extend(letter.as_deref());
            }
            Change::Clear(ids) => self.cleared.extend(ids),
            single => self.single.push((index, single)),
        }
    }
}

/// By how much the ledger changes.
#[derive(Default, PartialEq, Eq)]
struct Counts {
    received: i64,
    acknowledged: i64,
    forgotten: i64,
    refused: i64,
    buried: i64,
    redriven: i64,
    purged: i64,
}

struct BindingWriter<'a> {
    transaction: &'a DatabaseTransaction,
    binding_id: &'a str,
    now_ms: i64,
}

impl BindingWriter<'_> {
    async fn apply(&self, batch: &Batch<'_>, found: &mut [u64]) -> Result<()> {
        for (index, bound) in &batch.opened {
            self.open(bound).await?;
            found[*index] = self.lock().await?;
        }
        let epoch = self.lock().await?;
        let mut counts = Counts::default();
        for (index, change) in &batch.single {
            found[*index] = self.apply_single(change, epoch, &mut counts).await?;
        }
        counts.received += self.insert(&of_epoch(epoch, &batch.begun, found), None).await?;
        let refused = of_epoch(epoch, &batch.refused, found);
        let refused = self.insert(&refused, Some(self.now_ms)).await?;
        counts.refused += refused + batch.passed_refused;
        counts.received += refused + batch.passed;
        counts.acknowledged += refused + batch.passed + self.end(&batch.ended).await?;
        for (index, id, letter) in &batch.died {
            let ended = self.end(std::slice::from_ref(id)).await?;
            // What another replica has ended has its letter already, if any.
            if ended > 0 {
                counts.buried += self.bury(letter).await?;
            }
            counts.acknowledged += ended;
            found[*index] = ended.cast_unsigned();
        }
        for letter in &batch.passed_letters {
            counts.buried += self.bury(letter).await?;
        }
        self.delete(Some(&batch.cleared), true).await?;
        self.count(&counts).await
    }

    /// Keeps the ledger from other writers until the transaction ends, and gives its epoch. It is always
    /// the first row that is locked, so that two writers never wait for each other.
    async fn lock(&self) -> Result<u64> {
        let epoch = ledger::Entity::find_by_id(self.binding_id)
            .select_only()
            .column(ledger::Column::Epoch)
            .lock_exclusive()
            .into_tuple::<i64>()
            .one(self.transaction)
            .await?;
        let no_ledger = || DatabaseError::Failed(format!("the binding {} has no ledger", self.binding_id));
        epoch.map(i64::cast_unsigned).ok_or_else(no_ledger)
    }

    /// The changes that come one at a time.
    async fn apply_single(&self, change: &Change, epoch: u64, counts: &mut Counts) -> Result<u64> {
        match change {
            Change::Forget(ids) => {
                let forgotten = self.delete(Some(ids), false).await?;
                counts.forgotten += forgotten;
                return Ok(forgotten.cast_unsigned());
            }
            Change::ForgetAll => {
                let forgotten = self.delete(None, false).await?;
                counts.forgotten += forgotten;
                self.delete(None, true).await?;
                return Ok(forgotten.cast_unsigned());
            }
            Change::Place(value) => self.place(*value).await?,
            Change::Advance { epoch: of, .. } if *of != epoch => return Ok(0),
            Change::Advance { from, to, entry, .. } => {
                return self.advance(*from, *to, entry, counts).await;
            }
            Change::Redrive(id) => {
                let redriven = self.discard(std::slice::from_ref(id)).await?;
                counts.redriven += redriven;
                return Ok(redriven.cast_unsigned());
            }
            Change::Rebury { id, reason, trace } => return self.rebury(id, reason, *trace).await,
            Change::Purge(ids) => {
                let purged = self.discard(ids).await?;
                counts.purged += purged;
                return Ok(purged.cast_unsigned());
            }
            // Those that come in masses are not single.
            _ => {}
        }
        Ok(1)
    }

    async fn open(&self, bound: &BoundFunction) -> Result<()> {
        use ledger::Column::{BindingId, Epoch, Function, FunctionId, Module, Owner, Type};
        let reopened = OnConflict::column(BindingId)
            .update_columns([Module, Function, Owner])
            .value(Epoch, Expr::col((ledger::Entity, Epoch)).add(1))
            .to_owned();
        let mut insert = Query::insert();
        insert
            .into_table(ledger::Entity)
            .columns([BindingId, Type, FunctionId, Module, Function, Owner])
            .values_panic([
                self.binding_id.into(),
                bound.kind.as_str().into(),
                bound.function_id.as_str().into(),
                bound.module.as_str().into(),
                bound.function.as_str().into(),
                bound.owner.as_str().into(),
            ])
            .on_conflict(reopened);
        self.transaction.execute(&insert).await?;
        Ok(())
    }

    /// Gives how many were not there yet.
    async fn insert(&self, entries: &[&Entry], ended_at_ms: Option<i64>) -> Result<i64> {
        use in_flight::Column::{
            Args, BindingId, EndedAtMs, Fingerprint, Id, InvocationId, Key, ReceivedAtMs, Traceparent,
        };
        if entries.is_empty() {
            return Ok(0);
        }
        let mut insert = Query::insert();
        insert
            .into_table(in_flight::Entity)
            .columns([
                BindingId,
                Id,
                Key,
                Fingerprint,
                InvocationId,
                ReceivedAtMs,
                Args,
                EndedAtMs,
                Traceparent,
            ])
            .on_conflict(OnConflict::columns([BindingId, Id]).do_nothing().to_owned());
        for entry in entries {
            insert.values_panic([
                self.binding_id.into(),
                entry.id.to_string().into(),
                entry.key.as_str().into(),
                entry.fingerprint.map(|hash| hash.as_bytes().to_vec()).into(),
                entry.invocation_id.to_string().into(),
                entry.received_at_ms.into(),
                entry.args.as_ref().map(|args| args.to_vec()).into(),
                ended_at_ms.into(),
                entry.trace.map(|trace| trace.to_string()).into(),
            ]);
        }
        Ok(affected(self.transaction.execute(&insert).await?.rows_affected()))
    }

    /// Gives how many were in flight.
    async fn end(&self, ids: &[Uuid]) -> Result<i64> {
        if ids.is_empty() {
            return Ok(0);
        }
        let ended = in_flight::Entity::update_many()
            .col_expr(in_flight::Column::EndedAtMs, Expr::value(self.now_ms))
            .filter(in_flight::Column::BindingId.eq(self.binding_id))
            .filter(in_flight::Column::Id.is_in(texts(ids)))
            .filter(in_flight::Column::EndedAtMs.is_null())
            .exec(self.transaction)
            .await?;
        Ok(affected(ended.rows_affected))
    }

    /// Deletes events that have ended, or that have not: all of them, or those with these ids.
    async fn delete(&self, ids: Option<&[Uuid]>, ended: bool) -> Result<i64> {
        if ids.is_some_and(<[Uuid]>::is_empty) {
            return Ok(0);
        }
        let mut delete =
            in_flight::Entity::delete_many().filter(in_flight::Column::BindingId.eq(self.binding_id));
        if let Some(ids) = ids {
            delete = delete.filter(in_flight::Column::Id.is_in(texts(ids)));
        }
        delete = match ended {
            true => delete.filter(in_flight::Column::EndedAtMs.is_not_null()),
            false => delete.filter(in_flight::Column::EndedAtMs.is_null()),
        };
        Ok(affected(delete.exec(self.transaction).await?.rows_affected))
    }

    async fn place(&self, value: i64) -> Result<()> {
        let mut insert = Query::insert();
        insert
            .into_table(cursor::Entity)
            .columns([cursor::Column::BindingId, cursor::Column::Value])
            .values_panic([self.binding_id.into(), value.into()])
            .on_conflict(OnConflict::column(cursor::Column::BindingId).do_nothing().to_owned());
        self.transaction.execute(&insert).await?;
        Ok(())
    }

    async fn advance(&self, from: i64, to: i64, entry: &Entry, counts: &mut Counts) -> Result<u64> {
        let moved = cursor::Entity::update_many()
            .col_expr(cursor::Column::Value, Expr::value(to))
            .filter(cursor::Column::BindingId.eq(self.binding_id))
            .filter(cursor::Column::Value.eq(from))
            .exec(self.transaction)
            .await?;
        if moved.rows_affected > 0 {
            counts.received += self.insert(&[entry], None).await?;
            return Ok(1);
        }
        // It may have been this very change, of which only the answer was lost.
        let id = (self.binding_id.to_owned(), entry.id.to_string());
        Ok(in_flight::Entity::find_by_id(id).one(self.transaction).await?.map_or(0, |_| 1))
    }

    /// Gives 0 when the letter is there already.
    async fn bury(&self, burial: &Burial) -> Result<i64> {
        let row = super::queries::dead_letters::to_row(burial);
        let unless_there = OnConflict::column(dead_letter::Column::Id).do_nothing().to_owned();
        let insert = dead_letter::Entity::insert(row).on_conflict(unless_there);
        Ok(affected(self.transaction.execute(insert.as_query()).await?.rows_affected()))
    }

    async fn rebury(&self, id: &str, reason: &str, trace: Option<TraceParent>) -> Result<u64> {
        let attempts = dead_letter::Column::Attempts;
        let mut changed = dead_letter::Entity::update_many()
            .col_expr(dead_letter::Column::Reason, Expr::value(storable(reason)))
            .col_expr(attempts, Expr::col(attempts).add(1))
            .filter(dead_letter::Column::Id.eq(id));
        if let Some(trace) = trace {
            changed = changed.col_expr(dead_letter::Column::Traceparent, Expr::value(trace.to_string()));
        }
        Ok(changed.exec(self.transaction).await?.rows_affected)
    }

    async fn discard(&self, ids: &[String]) -> Result<i64> {
        let discarded = dead_letter::Entity::delete_many()
            .filter(dead_letter::Column::BindingId.eq(self.binding_id))
            .filter(dead_letter::Column::Id.is_in(ids))
            .exec(self.transaction)
            .await?;
        Ok(affected(discarded.rows_affected))
    }

    async fn count(&self, counts: &Counts) -> Result<()> {
        use ledger::Column::{Acknowledged, Buried, Forgotten, Purged, Received, Redriven, Refused};
        if *counts == Counts::default() {
            return Ok(());
        }
        let by = [
            (Received, counts.received),
            (Acknowledged, counts.acknowledged),
            (Forgotten, counts.forgotten),
            (Refused, counts.refused),
            (Buried, counts.buried),
            (Redriven, counts.redriven),
            (Purged, counts.purged),
        ];
        let mut update = ledger::Entity::update_many().filter(ledger::Column::BindingId.eq(self.binding_id));
        // Always all of them: one statement, prepared once.
        for (column, count) in by {
            update = update.col_expr(column, Expr::col(column).add(count));
        }
        update.exec(self.transaction).await?;
        Ok(())
    }
}

/// Those that the last tenure has begun; the others are not found.
fn of_epoch<'a>(epoch: u64, begun: &[Begun<'a>], found: &mut [u64]) -> Vec<&'a Entry> {
    let (last, former): (Vec<_>, Vec<_>) = begun.iter().partition(|begun| begun.epoch == epoch);
    former.into_iter().for_each(|begun| found[begun.index] = 0);
    last.into_iter().map(|begun| begun.entry).collect()
}

/// PostgreSQL takes no zero bytes in texts.
pub(super) fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn texts(ids: &[Uuid]) -> impl Iterator<Item = Value> + '_ {
    ids.iter().map(|id| id.to_string().into())
}

fn affected(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}
