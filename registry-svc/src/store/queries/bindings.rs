//! Bindings. They leave the store with their secrets through `bindings` and nowhere else.

use std::collections::HashMap;

use proto::registry::v1::{Binding, BindingRole, FunctionBinding};
use sea_orm::sea_query::Expr;
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    Set,
};

use crate::binding_identity::{is_same, is_same_source};
use crate::keyring::{Keyring, Unreadable};
use crate::redaction::redact;
use crate::store::entity::{binding, function, module};
use crate::store::{DatabaseError, Reader, Result, Write};

/// What everyone sees of parameters that cannot be read.
const UNREADABLE: &str = r#"{"unreadable":"encrypted under a key that the registry does not have"}"#;

/// The bindings of all functions in one role.
#[derive(Debug, Default)]
pub(crate) struct RoleBindings {
    /// The ids of those that can be read, ordered by function and place.
    pub(crate) order: Vec<String>,
    /// By id; secrets included.
    pub(crate) readable: HashMap<String, FunctionBinding>,
    /// By id: whose it is, and why it cannot be read.
    pub(crate) unreadable: HashMap<String, (String, Unreadable)>,
}

impl RoleBindings {
    /// Whether there is a binding with this id.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.readable.contains_key(id) || self.unreadable.contains_key(id)
    }
}

impl Reader<'_> {
    /// The bindings of all functions in this role.
    pub(crate) async fn bindings(&self, role: BindingRole) -> Result<RoleBindings> {
        let rows = binding::Entity::find()
            .find_also_related(function::Entity)
            .and_also_related(module::Entity)
            .filter(binding::Column::Role.eq(i32::from(role)))
            .order_by_asc(binding::Column::FunctionId)
            .order_by_asc(binding::Column::Position)
            .all(&self.db)
            .await?;
        let mut bindings = RoleBindings::default();
        for (row, function, module) in rows {
            // Foreign keys say that both are there.
            let (Some(function), Some(module)) = (function, module) else {
                return Err(DatabaseError::Failed(format!("the binding {} has lost its function", row.id)));
            };
            let id = row.id.clone();
            match open(self.keyring, row) {
                Ok(binding) => {
                    let binding = FunctionBinding {
                        function_id: function.id,
                        module: function.module,
                        function: function.name,
                        owner: module.owner,
                        binding: Some(binding),
                    };
                    bindings.order.push(id.clone());
                    bindings.readable.insert(id, binding);
                }
                Err(cause) => {
                    let name = format!("{}/{}", function.module, function.name);
                    bindings.unreadable.insert(id, (name, cause));
                }
            }
        }
        Ok(bindings)
    }
}

impl Write {
    /// Gives a function other bindings in this role, unless `bindings` is absent. One that the function
    /// has already stays what it is, with its id. A sink that is changed keeps its id, too, and with it the
    /// results that wait for it; so does an event whose source stays the same.
    pub(super) async fn replace_bindings(
        &mut self,
        function_id: &str,
        role: BindingRole,
        bindings: Option<Vec<Binding>>,
    ) -> Result<()> {
        let Some(bindings) = bindings else { return Ok(()) };
        let is_in_list = Condition::all()
            .add(binding::Column::FunctionId.eq(function_id))
            .add(binding::Column::Role.eq(i32::from(role)));
        let rows = binding::Entity::find()
            .filter(is_in_list.clone())
            .order_by_asc(binding::Column::Position)
            .all(&self.transaction)
            .await?;
        // One that cannot be read is like no other.
        let mut former: Vec<_> = rows.into_iter().filter_map(|row| open(&self.keyring, row).ok()).collect();
        let (mut kept, mut other) = (Vec::new(), Vec::new());
        for (position, binding) in (0..).zip(bindings) {
            match former.iter().position(|former| is_same(former, &binding)) {
                Some(index) => kept.push((position, former.remove(index).id)),
                None => other.push((position, binding)),
            }
        }
        let (mut changed, mut added) = (Vec::new(), Vec::new());
        for (position, binding) in other {
            let successor = |former: &Binding| match role {
                BindingRole::Sink => former.r#type == binding.r#type,
                BindingRole::Event | BindingRole::Unspecified => is_same_source(former, &binding),
            };
            match former.iter().position(successor) {
                Some(index) => changed.push((position, Binding { id: former.remove(index).id, ..binding })),
                None => added.push((position, binding)),
            }
        }

        let stay = kept.iter().map(|(_, id)| id).chain(changed.iter().map(|(_, binding)| &binding.id));
        binding::Entity::delete_many()
            .filter(is_in_list)
            .filter(binding::Column::Id.is_not_in(stay))
            .exec(&self.transaction)
            .await?;
        for (position, id) in kept {
            binding::Entity::update_many()
                .col_expr(binding::Column::Position, Expr::value(position))
                .filter(binding::Column::Id.eq(id))
                .exec(&self.transaction)
                .await?;
        }
        for (position, binding) in changed {
            binding::Entity::update_many()
                .col_expr(binding::Column::Position, Expr::value(position))
                .col_expr(binding::Column::Params, Expr::value(self.seal(&binding)?))
                .filter(binding::Column::Id.eq(binding.id))
                .exec(&self.transaction)
                .await?;
        }
        for (position, binding) in added {
            self.insert_binding(function_id, role, position, binding).await?;
        }
        Ok(())
    }

    /// The parameters as they are stored.
    fn seal(&self, binding: &Binding) -> Result<String> {
        let sealed = self.keyring.seal(&binding.id, &binding.params);
        sealed.ok_or_else(|| DatabaseError::Failed("there is no encryption_key".into()))
    }

    async fn insert_binding(
        &self,
        function_id: &str,
        role: BindingRole,
        position: i32,
        binding: Binding,
    ) -> Result<()> {
        let params = self.seal(&binding)?;
        let row = binding::ActiveModel {
            function_id: Set(function_id.to_owned()),
            role: Set(role.into()),
            position: Set(position),
            params: Set(params),
            id: Set(binding.id),
            r#type: Set(binding.r#type),
        };
        row.insert(&self.transaction).await?;
        Ok(())
    }
}

/// With its secrets.
fn open(keyring: &Keyring, row: binding::Model) -> Result<Binding, Unreadable> {
    let params = keyring.open(&row.id, &row.params)?;
    Ok(Binding { id: row.id, r#type: row.r#type, params })
}

/// What everyone may see of a binding.
pub(super) fn to_redacted_binding(keyring: &Keyring, row: binding::Model) -> Binding {
    let params = match keyring.open(&row.id, &row.params) {
        Ok(params) => redact(&params),
        Err(_) => UNREADABLE.to_owned(),
    };
    Binding { id: row.id, r#type: row.r#type, params }
}
