//! Adds the trace context to results and dead letters.

use mesh::database::add_traceparent;
use sea_orm_migration::prelude::{DbErr, DeriveMigrationName, MigrationTrait, SchemaManager, async_trait};

#[derive(DeriveMigrationName)]
pub(super) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        add_traceparent(manager, &["sink_outbox", "sink_dead_letter"]).await
    }
}
