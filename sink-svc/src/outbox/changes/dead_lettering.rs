//! Dead-letters results, redrives and purges them. The row in the outbox stays as long as the dead letter
//! does, so that a repeat of the result is recognised. Each operation changes the row's state first: the
//! row's lock decides between replicas that change it concurrently.

use std::collections::HashMap;

use mesh::clock::now_ms;
use mesh::database::{DatabaseError, Result};
use mesh::telemetry::TraceParent;
use sea_orm::sea_query::{Expr, ExprTrait as _, Query, SelectStatement, SubQueryStatement, UpdateStatement};
use sea_orm::{ConnectionTrait as _, DatabaseTransaction};

use super::super::entity::outbox::{self, DEAD, PENDING, SETTLED};
use super::super::entity::{binding, dead_letter};
use super::{Changed, DeadLettered, Ledgers, in_state};

/// Turns pending rows into dead letters. Returns how many.
pub(super) async fn dead_letter_all(
    transaction: &DatabaseTransaction,
    dead_lettered: &[DeadLettered],
    ledgers: &mut Ledgers,
) -> Result<u64> {
    let dead_lettered: HashMap<_, _> =
        dead_lettered.iter().map(|dead_lettered| (dead_lettered.seq, dead_lettered)).collect();
    let mut update = change_state(PENDING, DEAD, dead_lettered.keys().copied());
    update.returning(Query::returning().columns(Changed::COLUMNS));
    let dead = Changed::read_all(&transaction.query_all(&update).await?)?;
    for row in &dead {
        ledgers.dead_lettered(&row.binding_id, row.size);
        if let Some(dead_lettered) = dead_lettered.get(&row.seq) {
            let inserted = transaction.execute(&insert_letter(dead_lettered)).await?.rows_affected();
            if inserted != 1 {
                // A row must not become dead without its dead letter: the transaction is rolled back.
                let problem =
                    format!("no dead letter was inserted for row {} of {}", row.seq, row.binding_id);
                return Err(DatabaseError::Failed(problem));
            }
        }
    }
    let mut empty = Query::update();
    empty
        .table(outbox::Entity)
        .value(outbox::Column::Result, Vec::<u8>::new())
        .and_where(Expr::col(outbox::Column::Seq).is_in(dead.iter().map(|row| row.seq)));
    transaction.execute(&empty).await?;
    Ok(dead.len() as u64)
}

/// Makes the results of dead letters pending again. Their age and attempts start anew.
pub(super) async fn redrive(
    transaction: &DatabaseTransaction,
    ids: &[String],
    trace: Option<TraceParent>,
    ledgers: &mut Ledgers,
) -> Result<u64> {
    let payload = Query::select()
        .column(dead_letter::Column::Payload)
        .from(dead_letter::Entity)
        .and_where(
            Expr::col((dead_letter::Entity, dead_letter::Column::Seq))
                .equals((outbox::Entity, outbox::Column::Seq)),
        )
        .take();
    let now_ms = now_ms();
    let mut update = change_state_of_letters(PENDING, ids);
    update
        .value(outbox::Column::Result, Expr::SubQuery(None, Box::new(SubQueryStatement::from(payload))))
        .value(outbox::Column::Attempts, 0)
        .value(outbox::Column::DueAtMs, now_ms)
        .value(outbox::Column::ReceivedAtMs, now_ms)
        .value(outbox::Column::LastError, "")
        .value(outbox::Column::Traceparent, trace.map(|trace| trace.to_string()));
    let redriven = Changed::read_all(&transaction.query_all(&update).await?)?;
    redriven.iter().for_each(|row| ledgers.redriven(&row.binding_id, row.size));
    delete_letters(transaction, &redriven).await
}

/// Deletes dead letters.
pub(super) async fn purge(
    transaction: &DatabaseTransaction,
    ids: &[String],
    ledgers: &mut Ledgers,
) -> Result<u64> {
    let mut update = change_state_of_letters(SETTLED, ids);
    update.value(outbox::Column::SettledAtMs, now_ms());
    let purged = Changed::read_all(&transaction.query_all(&update).await?)?;
    purged.iter().for_each(|row| ledgers.purged(&row.binding_id));
    delete_letters(transaction, &purged).await
}

fn change_state(from: i32, to: i32, seqs: impl Iterator<Item = i64>) -> UpdateStatement {
    Query::update()
        .table(outbox::Entity)
        .value(outbox::Column::State, to)
        .and_where(Expr::col(outbox::Column::Seq).is_in(seqs))
        .and_where(in_state(from))
        .take()
}

/// Changes the state of the rows of dead letters and returns the rows.
fn change_state_of_letters(to: i32, ids: &[String]) -> UpdateStatement {
    let seqs = Query::select()
        .column(dead_letter::Column::Seq)
        .from(dead_letter::Entity)
        .and_where(Expr::col(dead_letter::Column::Id).is_in(ids))
        .take();
    Query::update()
        .table(outbox::Entity)
        .value(outbox::Column::State, to)
        .and_where(Expr::col(outbox::Column::Seq).in_subquery(seqs))
        .and_where(in_state(DEAD))
        .returning(Query::returning().columns(Changed::COLUMNS))
        .take()
}

async fn delete_letters(transaction: &DatabaseTransaction, rows: &[Changed]) -> Result<u64> {
    let mut delete = Query::delete();
    delete
        .from_table(dead_letter::Entity)
        .and_where(Expr::col(dead_letter::Column::Seq).is_in(rows.iter().map(|row| row.seq)));
    Ok(transaction.execute(&delete).await?.rows_affected())
}

/// Inserts a dead letter by copying the row within the database.
fn insert_letter(dead_lettered: &DeadLettered) -> sea_orm::sea_query::InsertStatement {
    use dead_letter::Column as Letter;
    let mut insert = Query::insert();
    insert.into_table(dead_letter::Entity).columns([
        Letter::Id,
        Letter::Reason,
        Letter::Attempts,
        Letter::DiedAtMs,
        Letter::Traceparent,
        Letter::Seq,
        Letter::BindingId,
        Letter::InvocationId,
        Letter::ReceivedAtMs,
        Letter::Size,
        Letter::Payload,
        Letter::BindingType,
        Letter::FunctionId,
        Letter::Module,
        Letter::Function,
        Letter::Owner,
    ]);
    insert.select_from(letter_of(dead_lettered)).expect("as many columns as values");
    insert
}

fn letter_of(dead_lettered: &DeadLettered) -> SelectStatement {
    use binding::Column as Binding;
    use outbox::Column as Outbox;
    let trace = match dead_lettered.trace {
        Some(trace) => Expr::value(trace.to_string()),
        None => Expr::col((outbox::Entity, Outbox::Traceparent)),
    };
    Query::select()
        .expr(Expr::value(dead_lettered.letter_id.as_str()))
        .expr(Expr::value(dead_lettered.reason.as_str()))
        .expr(Expr::value(dead_lettered.attempts))
        .expr(Expr::value(now_ms()))
        .expr(trace)
        .columns(
            [
                Outbox::Seq,
                Outbox::BindingId,
                Outbox::InvocationId,
                Outbox::ReceivedAtMs,
                Outbox::Size,
                Outbox::Result,
            ]
            .map(|column| (outbox::Entity, column)),
        )
        .columns(
            [Binding::Type, Binding::FunctionId, Binding::Module, Binding::Function, Binding::Owner]
                .map(|column| (binding::Entity, column)),
        )
        .from(outbox::Entity)
        .inner_join(
            binding::Entity,
            Expr::col((outbox::Entity, Outbox::BindingId)).equals((binding::Entity, Binding::Id)),
        )
        .and_where(Expr::col((outbox::Entity, Outbox::Seq)).eq(dead_lettered.seq))
        .take()
}
