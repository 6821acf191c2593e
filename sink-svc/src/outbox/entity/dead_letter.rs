//! Results that could not be delivered.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait,
};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sink_dead_letter")]
pub struct Model {
    /// A UUID of version 7.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// Its row in the outbox.
    pub seq: i64,
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
    pub died_at_ms: i64,
    pub size: i64,
    pub payload: Vec<u8>,
    /// The span that failed; null if there was no trace.
    pub traceparent: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
