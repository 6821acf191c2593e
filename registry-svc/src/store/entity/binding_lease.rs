//! The holder of each binding.

use sea_orm::entity::prelude::{
    ActiveModelBehavior, DeriveEntityModel, DerivePrimaryKey, DeriveRelation, EntityTrait, EnumIter,
    PrimaryKeyTrait, Related, RelationDef, RelationTrait,
};

#[derive(Debug, Clone, PartialEq, Eq, DeriveEntityModel)]
#[sea_orm(table_name = "binding_lease")]
pub struct Model {
    #[sea_orm(primary_key, auto_increment = false)]
    pub binding_id: String,
    pub holder: String,
}

#[derive(Debug, Clone, Copy, EnumIter, DeriveRelation)]
pub enum Relation {
    #[sea_orm(
        belongs_to = "super::binding_holder::Entity",
        from = "Column::Holder",
        to = "super::binding_holder::Column::Holder"
    )]
    Holder,
}

impl ActiveModelBehavior for ActiveModel {}

impl Related<super::binding_holder::Entity> for Entity {
    fn to() -> RelationDef {
        Relation::Holder.def()
    }
}
