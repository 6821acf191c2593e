//! Events of sources that send again what was not acknowledged: those that are worked on, and those that
//! have ended and may still come again.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait,
};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "connector_in_flight")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub binding_id: String,
    /// One for each event. A key of the source is used again and again.
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    /// By which the source's kind knows the event again.
    pub key: String,
    /// Of what came; null when the key is enough.
    pub fingerprint: Option<Vec<u8>>,
    pub invocation_id: String,
    pub received_at_ms: i64,
    /// The function's argument, when the source does not send it again.
    pub args: Option<Vec<u8>>,
    /// Null while it is worked on.
    pub ended_at_ms: Option<i64>,
    /// Of the span of its first receipt; null: there was no trace.
    pub traceparent: Option<String>,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
