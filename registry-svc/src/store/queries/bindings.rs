//! Bindings. Only `bindings` returns them with their secrets.

use std::collections::HashMap;

use mesh::auth::owner_of_function;
use proto::registry::v1::{Binding, BindingRole, FunctionBinding};
use sea_orm::sea_query::{Expr, Func};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, EntityTrait as _, QueryFilter as _, QueryOrder as _,
    QuerySelect as _, Set,
};

use crate::binding_identity::{is_same, is_same_source};
use crate::keyring::{Keyring, Unreadable};
use crate::redaction::redact;
use crate::store::entity::{binding, function, module};
use crate::store::{DatabaseError, Reader, Result, Write};

/// What callers see of parameters that cannot be decrypted.
const UNREADABLE: &str = r#"{"unreadable":"encrypted under a key that the registry does not have"}"#;

/// The bindings of all functions in one role.
#[derive(Debug, Default)]
pub(crate) struct RoleBindings {
    /// The ids of the readable bindings, ordered by function and position.
    pub(crate) order: Vec<String>,
    /// The readable bindings by id, with their secrets.
    pub(crate) readable: HashMap<String, FunctionBinding>,
    /// The other bindings by id: the function, and why the parameters cannot be decrypted.
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
            // Foreign keys guarantee that both exist.
            let (Some(function), Some(module)) = (function, module) else {
                return Err(DatabaseError::Failed(format!("the binding {} has lost its function", row.id)));
            };
            let id = row.id.clone();
            match open(self.keyring, row) {
                Ok(binding) => {
                    let owner = owner_of_function(&module.owner, &function.creator).to_owned();
                    let binding = FunctionBinding {
                        function_id: function.id,
                        module: function.module,
                        function: function.name,
                        owner,
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

impl Reader<'_> {
    /// The size of the stored parameters of all functions that this subject has created, in bytes.
    pub(crate) async fn params_bytes_of(&self, creator: &str) -> Result<u64> {
        // PostgreSQL's sum of integers is a bigint, SQLite's an integer.
        let bytes = Func::sum(Func::char_length(Expr::col((binding::Entity, binding::Column::Params))));
        let sum = binding::Entity::find()
            .select_only()
            .column_as(Expr::from(bytes), "bytes")
            .inner_join(function::Entity)
            .filter(function::Column::Creator.eq(creator))
            .into_tuple::<Option<i64>>()
            .one(&self.db)
            .await?;
        Ok(sum.flatten().unwrap_or_default().cast_unsigned())
    }
}

impl Write {
    /// Replaces a function's bindings in this role; does nothing if `bindings` is absent. An unchanged
    /// binding keeps its id. A changed sink also keeps its id, and with it its pending results; so does a
    /// changed event if its source is the same.
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
        // Unreadable bindings match none of the new ones.
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

    /// Encrypts the parameters for storage.
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

/// Decrypts a binding, with its secrets.
fn open(keyring: &Keyring, row: binding::Model) -> Result<Binding, Unreadable> {
    let params = keyring.open(&row.id, &row.params)?;
    Ok(Binding { id: row.id, r#type: row.r#type, params })
}

/// A binding with its secrets redacted.
pub(super) fn to_redacted_binding(keyring: &Keyring, row: binding::Model) -> Binding {
    let params = match keyring.open(&row.id, &row.params) {
        Ok(params) => redact(&params),
        Err(_) => UNREADABLE.to_owned(),
    };
    Binding { id: row.id, r#type: row.r#type, params }
}
