//! What became of the events of each binding.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait,
};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "connector_ledger")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub binding_id: String,
    pub r#type: String,
    pub function_id: String,
    /// The names that the function had last.
    pub module: String,
    pub function: String,
    pub owner: String,
    /// The fencing epoch of the last holder; only that one begins events.
    pub epoch: i64,
    pub received: i64,
    pub acknowledged: i64,
    // Columns keep the names of the first release: replicas of that version may still write them.
    #[sea_orm(column_name = "forgotten")]
    pub lost: i64,
    #[sea_orm(column_name = "refused")]
    pub invalid: i64,
    #[sea_orm(column_name = "buried")]
    pub dead_lettered: i64,
    pub redriven: i64,
    pub purged: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
