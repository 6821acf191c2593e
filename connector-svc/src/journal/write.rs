//! Writing: what has become of the events of one binding.

use mesh::database::DatabaseError;
use mesh::telemetry::TraceParent;
use sea_orm::sea_query::{Expr, ExprTrait as _, OnConflict, Query, Value};
use sea_orm::{
    ColumnTrait as _, ConnectionTrait as _, DatabaseTransaction, EntityTrait as _, IntoActiveModel as _,
    QueryFilter as _, QuerySelect as _, QueryTrait as _,
};
use uuid::Uuid;

use super::answer::Result;
use super::change::{Change, DeadLetterRecord, Entry};
use super::entity::{cursor, dead_letter, in_flight, ledger};
use crate::binding::BoundFunction;

/// The changes of one binding. The frequent ones are grouped, so that each group is one statement.
#[derive(Default)]
pub(super) struct Batch<'a> {
    opened: Vec<(usize, &'a BoundFunction)>,
    begun: Vec<Begun<'a>>,
    invalid: Vec<Begun<'a>>,
    /// Invalid events that become dead letters.
    invalid_kept: Vec<(Begun<'a>, &'a DeadLetterRecord)>,
    ended: Vec<Uuid>,
    /// Events that have ended invalid, or as dead letters.
    failed: Vec<Failed<'a>>,
    passed: i64,
    passed_invalid: i64,
    passed_letters: Vec<&'a DeadLetterRecord>,
    cleared: Vec<Uuid>,
    /// The others.
    single: Vec<(usize, &'a Change)>,
}

/// An event that a holder has begun.
struct Begun<'a> {
    /// The change's place in the group.
    index: usize,
    epoch: u64,
    entry: &'a Entry,
}

/// An event that has ended without success.
struct Failed<'a> {
    /// The change's place in the group.
    index: usize,
    id: Uuid,
    invalid: bool,
    letter: Option<&'a DeadLetterRecord>,
}

impl<'a> Batch<'a> {
    pub(super) fn add(&mut self, index: usize, change: &'a Change) {
        match change {
            Change::Open(bound) => self.opened.push((index, bound)),
            Change::Begin { epoch, entry } => self.begun.push(Begun { index, epoch: *epoch, entry }),
            Change::Invalid { epoch, entry, letter } => {
                let begun = Begun { index, epoch: *epoch, entry };
                match letter {
                    None => self.invalid.push(begun),
                    Some(letter) => self.invalid_kept.push((begun, letter)),
                }
            }
            Change::End { id, invalid: false, letter: None } => self.ended.push(*id),
            Change::End { id, invalid, letter } => {
                self.failed.push(Failed { index, id: *id, invalid: *invalid, letter: letter.as_deref() });
            }
            Change::Pass { invalid, letter } => {
                self.passed += 1;
                self.passed_invalid += i64::from(*invalid);
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
    lost: i64,
    invalid: i64,
    dead_lettered: i64,
    redriven: i64,
    purged: i64,
}

/// Writes the changes of one binding.
pub(super) struct BindingWriter<'a> {
    pub(super) transaction: &'a DatabaseTransaction,
    pub(super) binding_id: &'a str,
    pub(super) now_ms: i64,
}

impl BindingWriter<'_> {
    /// Writes them, and stores in `found` how many rows each has changed.
    pub(super) async fn apply(&self, batch: &Batch<'_>, found: &mut [u64]) -> Result<()> {
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
        self.insert_invalid(batch, epoch, found, &mut counts).await?;
        counts.invalid += batch.passed_invalid;
        counts.received += batch.passed;
        counts.acknowledged += batch.passed + self.end(&batch.ended).await?;
        for Failed { index, id, invalid, letter } in &batch.failed {
            let ended = self.end(std::slice::from_ref(id)).await?;
            found[*index] = ended.cast_unsigned();
            counts.acknowledged += ended;
            counts.invalid += ended * i64::from(*invalid);
            // Another replica that has ended it has written its dead letter, if any.
            if let (1.., Some(letter)) = (ended, letter) {
                counts.dead_lettered += self.insert_dead_letter(letter).await?;
            }
        }
        for letter in &batch.passed_letters {
            counts.dead_lettered += self.insert_dead_letter(letter).await?;
        }
        self.delete(Some(&batch.cleared), true).await?;
        self.count(&counts).await
    }

    /// Invalid events end when they come in.
    async fn insert_invalid(
        &self,
        batch: &Batch<'_>,
        epoch: u64,
        found: &mut [u64],
        counts: &mut Counts,
    ) -> Result<()> {
        let mut invalid = self.insert(&of_epoch(epoch, &batch.invalid, found), Some(self.now_ms)).await?;
        for (begun, letter) in &batch.invalid_kept {
            if begun.epoch != epoch {
                found[begun.index] = 0;
                continue;
            }
            let inserted = self.insert(&[begun.entry], Some(self.now_ms)).await?;
            // A change that is written again has written its dead letter before.
            if inserted > 0 {
                counts.dead_lettered += self.insert_dead_letter(letter).await?;
            }
            invalid += inserted;
        }
        counts.received += invalid;
        counts.acknowledged += invalid;
        counts.invalid += invalid;
        Ok(())
    }

    /// Locks the ledger until the transaction ends, and returns its epoch. It is always the first row to be
    /// locked, which avoids deadlocks.
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
            Change::MarkLost(ids) => {
                let lost = self.delete(Some(ids), false).await?;
                counts.lost += lost;
                return Ok(lost.cast_unsigned());
            }
            Change::MarkAllLost => {
                let lost = self.delete(None, false).await?;
                counts.lost += lost;
                self.delete(None, true).await?;
                return Ok(lost.cast_unsigned());
            }
            Change::SetCursor(value) => self.set_cursor(*value).await?,
            Change::Advance { epoch: of, .. } | Change::MoveCursor { epoch: of, .. } if *of != epoch => {
                return Ok(0);
            }
            Change::MoveCursor { from, to, .. } => return self.move_cursor(*from, *to).await,
            Change::Advance { from, to, entry, .. } => {
                return self.advance(*from, *to, entry, counts).await;
            }
            Change::Redriven(id) => {
                let redriven = self.delete_dead_letters(std::slice::from_ref(id)).await?;
                counts.redriven += redriven;
                return Ok(redriven.cast_unsigned());
            }
            Change::RedriveFailed { id, reason, trace } => {
                return self.redrive_failed(id, reason, *trace).await;
            }
            Change::Purge(ids) => {
                let purged = self.delete_dead_letters(ids).await?;
                counts.purged += purged;
                return Ok(purged.cast_unsigned());
            }
            // The others are grouped.
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

    /// Returns how many were not there yet.
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

    /// Returns how many were in flight.
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

    async fn set_cursor(&self, value: i64) -> Result<()> {
        let mut insert = Query::insert();
        insert
            .into_table(cursor::Entity)
            .columns([cursor::Column::BindingId, cursor::Column::Value])
            .values_panic([self.binding_id.into(), value.into()])
            .on_conflict(OnConflict::column(cursor::Column::BindingId).do_nothing().to_owned());
        self.transaction.execute(&insert).await?;
        Ok(())
    }

    /// Returns 0 if the cursor is not at `from`.
    async fn move_cursor(&self, from: i64, to: i64) -> Result<u64> {
        let moved = cursor::Entity::update_many()
            .col_expr(cursor::Column::Value, Expr::value(to))
            .filter(cursor::Column::BindingId.eq(self.binding_id))
            .filter(cursor::Column::Value.eq(from))
            .exec(self.transaction)
            .await?;
        Ok(moved.rows_affected)
    }

    async fn advance(&self, from: i64, to: i64, entry: &Entry, counts: &mut Counts) -> Result<u64> {
        if self.move_cursor(from, to).await? > 0 {
            counts.received += self.insert(&[entry], None).await?;
            return Ok(1);
        }
        // It may have been this very change, of which only the answer was lost.
        let id = (self.binding_id.to_owned(), entry.id.to_string());
        Ok(in_flight::Entity::find_by_id(id).one(self.transaction).await?.map_or(0, |_| 1))
    }

    /// Returns 0 if it is there already.
    async fn insert_dead_letter(&self, record: &DeadLetterRecord) -> Result<i64> {
        let row = to_row(record);
        let unless_there = OnConflict::column(dead_letter::Column::Id).do_nothing().to_owned();
        let insert = dead_letter::Entity::insert(row).on_conflict(unless_there);
        Ok(affected(self.transaction.execute(insert.as_query()).await?.rows_affected()))
    }

    async fn redrive_failed(&self, id: &str, reason: &str, trace: Option<TraceParent>) -> Result<u64> {
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

    async fn delete_dead_letters(&self, ids: &[String]) -> Result<i64> {
        let deleted = dead_letter::Entity::delete_many()
            .filter(dead_letter::Column::BindingId.eq(self.binding_id))
            .filter(dead_letter::Column::Id.is_in(ids))
            .exec(self.transaction)
            .await?;
        Ok(affected(deleted.rows_affected))
    }

    async fn count(&self, counts: &Counts) -> Result<()> {
        use ledger::Column::{Acknowledged, DeadLettered, Invalid, Lost, Purged, Received, Redriven};
        if *counts == Counts::default() {
            return Ok(());
        }
        let by = [
            (Received, counts.received),
            (Acknowledged, counts.acknowledged),
            (Lost, counts.lost),
            (Invalid, counts.invalid),
            (DeadLettered, counts.dead_lettered),
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

/// Those that the last holder has begun; the others are not found.
fn of_epoch<'a>(epoch: u64, begun: &[Begun<'a>], found: &mut [u64]) -> Vec<&'a Entry> {
    let (last, former): (Vec<_>, Vec<_>) = begun.iter().partition(|begun| begun.epoch == epoch);
    former.into_iter().for_each(|begun| found[begun.index] = 0);
    last.into_iter().map(|begun| begun.entry).collect()
}

/// PostgreSQL has no zero bytes in texts.
fn storable(text: &str) -> String {
    text.replace('\0', "\u{fffd}")
}

fn texts(ids: &[Uuid]) -> impl Iterator<Item = Value> + '_ {
    ids.iter().map(|id| id.to_string().into())
}

fn affected(rows: u64) -> i64 {
    i64::try_from(rows).unwrap_or(i64::MAX)
}

fn to_row(DeadLetterRecord { letter, trace }: &DeadLetterRecord) -> dead_letter::ActiveModel {
    let row = dead_letter::Model {
        id: letter.id.clone(),
        binding_id: letter.binding_id.clone(),
        binding_type: letter.binding_type.clone(),
        function_id: letter.function_id.clone(),
        module: letter.module.clone(),
        function: letter.function.clone(),
        owner: letter.owner.clone(),
        invocation_id: letter.invocation_id.clone(),
        reason: storable(&letter.reason),
        attempts: letter.attempts.cast_signed(),
        received_at_ms: letter.received_at_ms,
        dead_lettered_at_ms: letter.dead_lettered_at_ms,
        payload_bytes: i64::try_from(letter.payload_bytes).unwrap_or(i64::MAX),
        payload: letter.payload.to_vec(),
        traceparent: trace.map(|trace| trace.to_string()),
        invalid: letter.invalid,
    };
    row.into_active_model()
}
