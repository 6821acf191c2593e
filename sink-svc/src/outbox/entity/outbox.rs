//! Every result that was taken: those that wait, and for a while those that have left, so that a repeat
//! is recognised.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait,
};

/// It waits for delivery.
pub const PENDING: i32 = 0;
/// It was delivered, or died and was thrown away. The result itself is gone.
pub const SETTLED: i32 = 1;
/// It is a dead letter, which has the result.
pub const DEAD: i32 = 2;

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sink_outbox")]
pub struct Model {
    /// In the order in which results came.
    #[sea_orm(primary_key)]
    pub seq: i64,
    pub binding_id: String,
    pub invocation_id: String,
    pub state: i32,
    /// Attempts that failed because of this result.
    pub attempts: i32,
    pub due_at_ms: i64,
    /// When it came, or was driven again.
    pub received_at_ms: i64,
    pub settled_at_ms: i64,
    /// Of the result, in bytes.
    pub size: i64,
    pub last_error: String,
    pub result: Vec<u8>,
    /// Of the span in which it came, or was driven again; null: there was no trace.
    pub traceparent: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
