//! Bindings. They leave the store with their secrets through `bindings` and nowhere else.

use proto::registry::v1::{Binding, BindingRole, FunctionBinding};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, QueryOrder as _, Set,
};

use crate::bindings::redact;
use crate::store::entity::{binding, function};
use crate::store::{Reader, Result, StoreError, Write};

impl Reader<'_> {
    /// The bindings of all functions in this role, secrets included, ordered by function and place.
    pub(crate) async fn bindings(&self, role: BindingRole) -> Result<Vec<FunctionBinding>> {
        let rows = binding::Entity::find()
            .find_also_related(function::Entity)
            .filter(binding::Column::Role.eq(i32::from(role)))
            .order_by_asc(binding::Column::FunctionId)
            .order_by_asc(binding::Column::Position)
            .all(&self.db)
            .await?;
        let bindings = rows.into_iter().map(|(binding, function)| {
            let function =
                function.ok_or_else(|| StoreError::Failed("a binding has lost its function".into()))?;
            Ok(FunctionBinding {
                function_id: function.id,
                module: function.module,
                function: function.name,
                binding: Some(to_binding(binding)),
            })
        });
        bindings.collect()
    }
}

impl Write {
    /// Gives a function other bindings in this role, unless `bindings` is absent.
    pub(super) async fn replace_bindings(
        &mut self,
        function_id: &str,
        role: BindingRole,
        bindings: Option<Vec<Binding>>,
    ) -> Result<()> {
        let Some(bindings) = bindings else { return Ok(()) };
        binding::Entity::delete_many()
            .filter(binding::Column::FunctionId.eq(function_id))
            .filter(binding::Column::Role.eq(i32::from(role)))
            .exec(&self.transaction)
            .await?;
        for (position, binding) in (0..).zip(bindings) {
            let row = binding::ActiveModel {
                id: Set(binding.id),
                function_id: Set(function_id.to_owned()),
                role: Set(role.into()),
                position: Set(position),
                r#type: Set(binding.r#type),
                params: Set(binding.params),
            };
            row.insert(&self.transaction).await?;
        }
        Ok(())
    }
}

fn to_binding(row: binding::Model) -> Binding {
    Binding { id: row.id, r#type: row.r#type, params: row.params }
}

/// What everyone may see of a binding.
pub(super) fn to_redacted_binding(row: binding::Model) -> Binding {
    Binding { params: redact(&row.params), ..to_binding(row) }
}
