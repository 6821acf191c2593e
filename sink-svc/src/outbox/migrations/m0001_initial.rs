//! The first schema.

use sea_orm_migration::prelude::{
    ColumnDef, ConditionalStatement as _, DbErr, DeriveIden, DeriveMigrationName, Expr, ExprTrait as _,
    Index, MigrationTrait, SchemaManager, Table, async_trait,
};
use sea_orm_migration::sea_query::{IndexCreateStatement, TableCreateStatement};

use crate::outbox::entity::outbox::{PENDING, SETTLED};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [outbox(), binding(), ledger(), dead_letter()] {
            manager.create_table(table).await?;
        }
        for index in [pending(), settled(), dead_by_binding()] {
            manager.create_index(index).await?;
        }
        Ok(())
    }
}

/// The result is the last column: SQLite reads a row from its front, and most queries do not need the result.
fn outbox() -> TableCreateStatement {
    let by_invocation = Index::create()
        .name("sink_outbox_invocation")
        .col(Outbox::BindingId)
        .col(Outbox::InvocationId)
        .take();
    Table::create()
        .table(Outbox::Table)
        .col(ColumnDef::new(Outbox::Seq).big_integer().not_null().auto_increment().primary_key())
        .col(ColumnDef::new(Outbox::BindingId).text().not_null())
        .col(ColumnDef::new(Outbox::InvocationId).text().not_null())
        .col(ColumnDef::new(Outbox::State).integer().not_null().default(PENDING))
        .col(ColumnDef::new(Outbox::Attempts).integer().not_null().default(0))
        .col(ColumnDef::new(Outbox::DueAtMs).big_integer().not_null())
        .col(ColumnDef::new(Outbox::ReceivedAtMs).big_integer().not_null())
        .col(ColumnDef::new(Outbox::SettledAtMs).big_integer().not_null().default(0))
        .col(ColumnDef::new(Outbox::Size).big_integer().not_null())
        .col(ColumnDef::new(Outbox::LastError).text().not_null().default(""))
        .col(ColumnDef::new(Outbox::Result).blob().not_null())
        .index(by_invocation.clone().unique())
        .take()
}

/// The pending rows, by binding, in order of arrival. With due time and size, so that rows that are not due
/// or do not fit into a page are skipped without being read.
fn pending() -> IndexCreateStatement {
    Index::create()
        .name("sink_outbox_pending")
        .table(Outbox::Table)
        .col(Outbox::BindingId)
        .col(Outbox::Seq)
        .col(Outbox::DueAtMs)
        .col(Outbox::Size)
        .cond_where(Expr::col(Outbox::State).eq(Expr::cust(PENDING.to_string())))
        .take()
}

/// The settled rows, the oldest first.
fn settled() -> IndexCreateStatement {
    Index::create()
        .name("sink_outbox_settled")
        .table(Outbox::Table)
        .col(Outbox::Seq)
        .cond_where(Expr::col(Outbox::State).eq(Expr::cust(SETTLED.to_string())))
        .take()
}

fn binding() -> TableCreateStatement {
    Table::create()
        .table(Binding::Table)
        .col(ColumnDef::new(Binding::Id).text().not_null().primary_key())
        .col(ColumnDef::new(Binding::Type).text().not_null())
        .col(ColumnDef::new(Binding::FunctionId).text().not_null())
        .col(ColumnDef::new(Binding::Module).text().not_null())
        .col(ColumnDef::new(Binding::Function).text().not_null())
        .col(ColumnDef::new(Binding::Owner).text().not_null())
        .take()
}

fn ledger() -> TableCreateStatement {
    Table::create()
        .table(Ledger::Table)
        .col(ColumnDef::new(Ledger::BindingId).text().not_null().primary_key())
        .col(ColumnDef::new(Ledger::Accepted).big_integer().not_null())
        .col(ColumnDef::new(Ledger::Delivered).big_integer().not_null())
        .col(ColumnDef::new(Ledger::Dead).big_integer().not_null())
        .col(ColumnDef::new(Ledger::Purged).big_integer().not_null())
        .col(ColumnDef::new(Ledger::PendingBytes).big_integer().not_null())
        .take()
}

fn dead_letter() -> TableCreateStatement {
    Table::create()
        .table(DeadLetter::Table)
        .col(ColumnDef::new(DeadLetter::Id).text().not_null().primary_key())
        .col(ColumnDef::new(DeadLetter::Seq).big_integer().not_null().unique_key())
        .col(ColumnDef::new(DeadLetter::BindingId).text().not_null())
        .col(ColumnDef::new(DeadLetter::BindingType).text().not_null())
        .col(ColumnDef::new(DeadLetter::FunctionId).text().not_null())
        .col(ColumnDef::new(DeadLetter::Module).text().not_null())
        .col(ColumnDef::new(DeadLetter::Function).text().not_null())
        .col(ColumnDef::new(DeadLetter::Owner).text().not_null())
        .col(ColumnDef::new(DeadLetter::InvocationId).text().not_null())
        .col(ColumnDef::new(DeadLetter::Reason).text().not_null())
        .col(ColumnDef::new(DeadLetter::Attempts).integer().not_null())
        .col(ColumnDef::new(DeadLetter::ReceivedAtMs).big_integer().not_null())
        .col(ColumnDef::new(DeadLetter::DiedAtMs).big_integer().not_null())
        .col(ColumnDef::new(DeadLetter::Size).big_integer().not_null())
        .col(ColumnDef::new(DeadLetter::Payload).blob().not_null())
        .take()
}

/// Dead letters are counted and looked up by binding.
fn dead_by_binding() -> IndexCreateStatement {
    Index::create()
        .name("sink_dead_letter_binding")
        .table(DeadLetter::Table)
        .col(DeadLetter::BindingId)
        .col(DeadLetter::Id)
        .take()
}

#[derive(DeriveIden)]
enum Outbox {
    #[sea_orm(iden = "sink_outbox")]
    Table,
    Seq,
    BindingId,
    InvocationId,
    State,
    Attempts,
    DueAtMs,
    ReceivedAtMs,
    SettledAtMs,
    Size,
    LastError,
    Result,
}

#[derive(DeriveIden)]
enum Binding {
    #[sea_orm(iden = "sink_binding")]
    Table,
    Id,
    Type,
    FunctionId,
    Module,
    Function,
    Owner,
}

#[derive(DeriveIden)]
enum Ledger {
    #[sea_orm(iden = "sink_ledger")]
    Table,
    BindingId,
    Accepted,
    Delivered,
    Dead,
    Purged,
    PendingBytes,
}

#[derive(DeriveIden)]
enum DeadLetter {
    #[sea_orm(iden = "sink_dead_letter")]
    Table,
    Id,
    Seq,
    BindingId,
    BindingType,
    FunctionId,
    Module,
    Function,
    Owner,
    InvocationId,
    Reason,
    Attempts,
    ReceivedAtMs,
    DiedAtMs,
    Size,
    Payload,
}
