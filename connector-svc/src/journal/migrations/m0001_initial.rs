//! The first schema.

use sea_orm_migration::prelude::{
    ColumnDef, DbErr, DeriveIden, DeriveMigrationName, Index, MigrationTrait, SchemaManager, Table,
    async_trait,
};
use sea_orm_migration::sea_query::TableCreateStatement;

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in [in_flight(), ledger(), dead_letter(), cursor()] {
            manager.create_table(table).await?;
        }
        let by_binding = Index::create()
            .name("connector_dead_letter_by_binding")
            .table(ConnectorDeadLetter::Table)
            .col(ConnectorDeadLetter::BindingId)
            .take();
        manager.create_index(by_binding).await
    }
}

fn in_flight() -> TableCreateStatement {
    Table::create()
        .table(ConnectorInFlight::Table)
        .col(ColumnDef::new(ConnectorInFlight::BindingId).text().not_null())
        .col(ColumnDef::new(ConnectorInFlight::Id).text().not_null())
        .col(ColumnDef::new(ConnectorInFlight::Key).text().not_null())
        .col(ColumnDef::new(ConnectorInFlight::Fingerprint).blob())
        .col(ColumnDef::new(ConnectorInFlight::InvocationId).text().not_null())
        .col(ColumnDef::new(ConnectorInFlight::ReceivedAtMs).big_integer().not_null())
        .col(ColumnDef::new(ConnectorInFlight::Args).blob())
        .col(ColumnDef::new(ConnectorInFlight::EndedAtMs).big_integer())
        .primary_key(Index::create().col(ConnectorInFlight::BindingId).col(ConnectorInFlight::Id))
        .take()
}

fn ledger() -> TableCreateStatement {
    let mut table = Table::create();
    table
        .table(ConnectorLedger::Table)
        .col(ColumnDef::new(ConnectorLedger::BindingId).text().not_null().primary_key())
        .col(ColumnDef::new(ConnectorLedger::Type).text().not_null())
        .col(ColumnDef::new(ConnectorLedger::FunctionId).text().not_null())
        .col(ColumnDef::new(ConnectorLedger::Module).text().not_null())
        .col(ColumnDef::new(ConnectorLedger::Function).text().not_null())
        .col(ColumnDef::new(ConnectorLedger::Owner).text().not_null())
        .col(ColumnDef::new(ConnectorLedger::Epoch).big_integer().not_null().default(1));
    for count in [
        ConnectorLedger::Received,
        ConnectorLedger::Acknowledged,
        ConnectorLedger::Forgotten,
        ConnectorLedger::Refused,
        ConnectorLedger::Buried,
        ConnectorLedger::Redriven,
        ConnectorLedger::Purged,
    ] {
        table.col(ColumnDef::new(count).big_integer().not_null().default(0));
    }
    table.take()
}

fn dead_letter() -> TableCreateStatement {
    Table::create()
        .table(ConnectorDeadLetter::Table)
        .col(ColumnDef::new(ConnectorDeadLetter::Id).text().not_null().primary_key())
        .col(ColumnDef::new(ConnectorDeadLetter::BindingId).text().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::BindingType).text().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::FunctionId).text().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::Module).text().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::Function).text().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::Owner).text().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::InvocationId).text().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::Reason).text().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::Attempts).integer().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::ReceivedAtMs).big_integer().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::DiedAtMs).big_integer().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::PayloadBytes).big_integer().not_null())
        .col(ColumnDef::new(ConnectorDeadLetter::Payload).blob().not_null())
        .take()
}

fn cursor() -> TableCreateStatement {
    Table::create()
        .table(ConnectorCursor::Table)
        .col(ColumnDef::new(ConnectorCursor::BindingId).text().not_null().primary_key())
        .col(ColumnDef::new(ConnectorCursor::Value).big_integer().not_null())
        .take()
}

#[derive(DeriveIden)]
enum ConnectorInFlight {
    Table,
    BindingId,
    Id,
    Key,
    Fingerprint,
    InvocationId,
    ReceivedAtMs,
    Args,
    EndedAtMs,
}

#[derive(DeriveIden)]
enum ConnectorLedger {
    Table,
    BindingId,
    Type,
    FunctionId,
    Module,
    Function,
    Owner,
    Epoch,
    Received,
    Acknowledged,
    Forgotten,
    Refused,
    Buried,
    Redriven,
    Purged,
}

#[derive(DeriveIden)]
enum ConnectorDeadLetter {
    Table,
    Id,
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
    PayloadBytes,
    Payload,
}

#[derive(DeriveIden)]
enum ConnectorCursor {
    Table,
    BindingId,
    Value,
}
