//! All accepted results. Settled ones are kept for a while, so that repeats are recognised.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait,
};

/// The result waits for delivery.
pub const PENDING: i32 = 0;
/// The result was delivered, or dead-lettered and purged. The row does not contain it any more.
pub const SETTLED: i32 = 1;
/// The result is in a dead letter.
pub const DEAD: i32 = 2;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sink_outbox")]
pub struct Model {
    /// In the order of arrival.
    #[sea_orm(primary_key)]
    pub seq: i64,
    pub binding_id: String,
    pub invocation_id: String,
    pub state: i32,
    /// Attempts that failed because of this result.
    pub attempts: i32,
    pub due_at_ms: i64,
    /// When the result was accepted or redriven.
    pub received_at_ms: i64,
    pub settled_at_ms: i64,
    /// The size of the result in bytes.
    pub size: i64,
    pub last_error: String,
    pub result: Vec<u8>,
    /// The span in which the result was accepted or redriven; null if there was no trace.
    pub traceparent: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
