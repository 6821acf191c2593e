//! Bindings. Only [`RoleBindings`] has them with their secrets.

use std::collections::HashMap;

use mesh::auth::owner_of_function;
use proto::registry::v1::{Binding, BindingRole, FunctionBinding};
use sea_orm::sea_query::{Expr, Func};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, EntityTrait as _, JoinType, QueryFilter as _,
    QueryOrder as _, QuerySelect as _, RelationTrait as _, Select, Set,
};

use super::MAX_IDS;
use crate::binding_identity::{is_same, is_same_source};
use crate::keyring::{Keyring, Unreadable};
use crate::redaction::redact;
use crate::store::entity::{binding, function, module};
use crate::store::{DatabaseError, Reader, Result, Write};

/// What callers see of parameters that cannot be decrypted.
const UNREADABLE: &str = r#"{"unreadable":"encrypted under a key that the registry does not have"}"#;

/// Bindings of functions in one role.
#[derive(Debug, Default, Clone)]
pub(crate) struct RoleBindings {
    /// The ids of the readable bindings, ordered by function and position.
    pub(crate) order: Vec<String>,
    /// The readable bindings by id, with their secrets.
    pub(crate) readable: HashMap<String, FunctionBinding>,
    /// The other bindings by id.
    pub(crate) unreadable: HashMap<String, UnreadableBinding>,
}

/// A binding whose parameters cannot be decrypted.
#[derive(Debug, Clone)]
pub(crate) struct UnreadableBinding {
    pub(crate) function_id: String,
    pub(crate) module: String,
    pub(crate) function: String,
    pub(crate) cause: Unreadable,
}

/// Where a list of bindings goes on: after this function and position.
#[derive(Debug, Default, Clone)]
pub(crate) struct BindingCursor {
    function_id: String,
    position: i32,
}

/// The id, function, position, type and parameters of a binding; the function's module, name and creator; the module's
/// owner.
type Row = (String, String, i32, String, String, String, String, String, String);

impl RoleBindings {
    /// Whether there is a binding with this id.
    pub(crate) fn contains(&self, id: &str) -> bool {
        self.readable.contains_key(id) || self.unreadable.contains_key(id)
    }

    /// Adds bindings of functions that come after those of the others.
    pub(crate) fn extend(&mut self, other: Self) {
        self.order.extend(other.order);
        self.readable.extend(other.readable);
        self.unreadable.extend(other.unreadable);
    }

    /// Removes the bindings of these functions, which are ordered. Returns the readable ones.
    pub(crate) fn remove(&mut self, functions: &[&str]) -> HashMap<String, FunctionBinding> {
        let is_of_them = |function: &str| functions.binary_search(&function).is_ok();
        self.unreadable.retain(|_, unreadable| !is_of_them(&unreadable.function_id));
        let removed: HashMap<_, _> =
            self.readable.extract_if(|_, bound| is_of_them(&bound.function_id)).collect();
        if !removed.is_empty() {
            self.order.retain(|id| !removed.contains_key(id));
        }
        removed
    }

    /// Inserts bindings of functions that have none here.
    pub(crate) fn insert(&mut self, other: Self) {
        let (mut order, mut new) = (Vec::new(), other.order.into_iter().peekable());
        let function_of = |id: &String| other.readable.get(id).map(|bound| &bound.function_id);
        if new.peek().is_some() {
            for id in std::mem::take(&mut self.order) {
                let function = self.readable.get(&id).map(|bound| &bound.function_id);
                while let Some(next) = new.next_if(|next| function_of(next) < function) {
                    order.push(next);
                }
                order.push(id);
            }
            order.extend(new);
            self.order = order;
        }
        self.readable.extend(other.readable);
        self.unreadable.extend(other.unreadable);
    }

    fn push(&mut self, keyring: &Keyring, row: Row) {
        let (id, function_id, _, r#type, stored, module, function, creator, owner) = row;
        match keyring.open(&id, &stored) {
            Ok(params) => {
                let owner = owner_of_function(&owner, &creator).to_owned();
                let binding = Some(Binding { id: id.clone(), r#type, params });
                let bound = FunctionBinding { function_id, module, function, owner, binding };
                self.order.push(id.clone());
                self.readable.insert(id, bound);
            }
            Err(cause) => {
                self.unreadable.insert(id, UnreadableBinding { function_id, module, function, cause });
            }
        }
    }
}

impl Reader<'_> {
    /// Adds the next bindings of all functions in this role to `bindings`, at most `limit`, ordered by function. Returns
    /// where the list goes on; `None` at its end.
    pub(crate) async fn read_bindings(
        &self,
        role: BindingRole,
        after: BindingCursor,
        limit: u64,
        bindings: &mut RoleBindings,
    ) -> Result<Option<BindingCursor>> {
        use binding::Column;
        let same_function = Condition::all()
            .add(Column::FunctionId.eq(&after.function_id))
            .add(Column::Position.gt(after.position));
        let is_after = Condition::any().add(Column::FunctionId.gt(&after.function_id)).add(same_function);
        let rows = binding_rows(role).filter(is_after).limit(limit).into_tuple::<Row>().all(&self.db).await?;
        let is_full = rows.len() as u64 == limit;
        let last = rows.last().filter(|_| is_full);
        let next = last.map(|row| BindingCursor { function_id: row.1.clone(), position: row.2 });
        rows.into_iter().for_each(|row| bindings.push(self.keyring, row));
        Ok(next)
    }

    /// The bindings of these functions in this role.
    pub(crate) async fn bindings_of(&self, role: BindingRole, functions: &[&str]) -> Result<RoleBindings> {
        let mut bindings = RoleBindings::default();
        for functions in functions.chunks(MAX_IDS) {
            let of_these = binding::Column::FunctionId.is_in(functions.iter().copied());
            let rows = binding_rows(role).filter(of_these).into_tuple::<Row>().all(&self.db).await?;
            rows.into_iter().for_each(|row| bindings.push(self.keyring, row));
        }
        Ok(bindings)
    }
}

/// Selects the columns of [`Row`]. Foreign keys guarantee that each binding has a function and a module.
fn binding_rows(role: BindingRole) -> Select<binding::Entity> {
    use binding::Column;
    binding::Entity::find()
        .select_only()
        .columns([Column::Id, Column::FunctionId, Column::Position, Column::Type, Column::Params])
        .columns([function::Column::Module, function::Column::Name, function::Column::Creator])
        .column(module::Column::Owner)
        .join(JoinType::InnerJoin, binding::Relation::Function.def())
        .join(JoinType::InnerJoin, function::Relation::Module.def())
        .filter(Column::Role.eq(i32::from(role)))
        .order_by_asc(Column::FunctionId)
        .order_by_asc(Column::Position)
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
