//! The counts of all results of a binding. They change in the transactions that change the results.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait,
};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "sink_ledger")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub binding_id: String,
    pub accepted: i64,
    pub delivered: i64,
    pub dead: i64,
    pub purged: i64,
    /// The size of the pending results.
    pub pending_bytes: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
