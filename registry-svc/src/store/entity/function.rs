//! Functions.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait, Related, RelationDef, RelationTrait,
};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "function")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub id: String,
    pub module: String,
    pub name: String,
    pub code_hash: Vec<u8>,
    pub tag: String,
    pub capacity_kb: i64,
    pub idempotent: bool,
    pub script: String,
    pub memory_bytes: i64,
    pub timeout_ms: i64,
    pub output_bytes: i64,
    pub revision: i64,
    pub created_at_ms: i64,
    pub updated_at_ms: i64,
    pub creator: String,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(
        belongs_to = "super::module::Entity",
        from = "Column::Module",
        to = "super::module::Column::Name"
    )]
    Module,
    #[sea_orm(
        belongs_to = "super::code::Entity",
        from = "Column::CodeHash",
        to = "super::code::Column::Hash"
    )]
    Code,
}

impl ActiveModelBehavior for ActiveModel {}

impl Related<super::module::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Module.def()
    }
}

impl Related<super::code::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Code.def()
    }
}
