//! Events that could not be handled.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait,
};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "connector_dead_letter")]
pub struct Model {
    /// A UUID of version 7, made when the event was dead-lettered.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub binding_id: String,
    pub binding_type: String,
    pub function_id: String,
    pub module: String,
    pub function: String,
    pub owner: String,
    pub invocation_id: String,
    pub reason: String,
    pub attempts: i32,
    pub received_at_ms: i64,
    /// The column keeps the name of the first release: replicas of that version may still write it.
    #[sea_orm(column_name = "died_at_ms")]
    pub dead_lettered_at_ms: i64,
    pub payload_bytes: i64,
    pub payload: Vec<u8>,
    /// Of the span that failed; null: there was no trace.
    pub traceparent: Option<String>,
    /// The event was invalid; the payload need not be JSON.
    pub invalid: bool,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
