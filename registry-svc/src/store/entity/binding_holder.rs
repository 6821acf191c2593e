//! Replicas that run bindings.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait,
};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "binding_holder")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub holder: String,
    /// A `BindingRole`.
    pub role: i32,
    /// The endpoint where other replicas reach it.
    pub address: String,
    /// The holder takes no new bindings.
    pub stopping: bool,
    /// When its leases expire, as Unix time in milliseconds.
    pub expires_at_ms: i64,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {}

impl ActiveModelBehavior for ActiveModel {}
