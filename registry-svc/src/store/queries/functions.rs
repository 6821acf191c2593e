//! Functions, with their bindings.

use std::collections::HashMap;

use bytes::Bytes;
use proto::registry::v1::change::Change;
use proto::registry::v1::{Binding, BindingRole, Code, Function, FunctionDeleted, Limits, Metadata};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, EntityTrait as _, IntoActiveModel as _,
    PaginatorTrait as _, QueryFilter as _, QueryOrder as _, QuerySelect as _,
};

use super::bindings::to_redacted_binding;
use crate::keyring::Keyring;
use crate::store::entity::{binding, code, function, module};
use crate::store::{DatabaseError, Reader, Result, Write};

/// New bindings of a function. Absent lists are not changed.
#[derive(Debug, Default)]
pub(crate) struct FunctionBindings {
    pub(crate) events: Option<Vec<Binding>>,
    pub(crate) sinks: Option<Vec<Binding>>,
}

impl Reader<'_> {
    /// The function with this name. The secrets of bindings are redacted in all functions returned here.
    pub(crate) async fn function(&self, module: &str, name: &str) -> Result<Option<Function>> {
        let is_it =
            Condition::all().add(function::Column::Module.eq(module)).add(function::Column::Name.eq(name));
        Ok(self.load_functions(is_it).await?.pop())
    }

    /// The functions of a module, unordered.
    pub(crate) async fn functions_of(&self, module: &str) -> Result<Vec<Function>> {
        self.load_functions(Condition::all().add(function::Column::Module.eq(module))).await
    }

    /// All functions, unordered.
    pub(crate) async fn functions(&self) -> Result<Vec<Function>> {
        self.load_functions(Condition::all()).await
    }

    /// The functions that use this script, unordered.
    pub(crate) async fn functions_with_script(&self, script: &str) -> Result<Vec<Function>> {
        self.load_functions(Condition::all().add(function::Column::Script.eq(script))).await
    }

    /// Whether the subject with this name, which may have been deleted, has created a function.
    pub(crate) async fn has_created(&self, creator: &str) -> Result<bool> {
        let row =
            function::Entity::find().filter(function::Column::Creator.eq(creator)).one(&self.db).await?;
        Ok(row.is_some())
    }

    /// Whether a function with this name exists.
    pub(crate) async fn has_function(&self, module: &str, name: &str) -> Result<bool> {
        let functions = function::Entity::find()
            .filter(function::Column::Module.eq(module))
            .filter(function::Column::Name.eq(name))
            .count(&self.db)
            .await?;
        Ok(functions > 0)
    }

    /// The names of the functions of a module, unordered.
    pub(crate) async fn function_names(&self, module: &str) -> Result<Vec<String>> {
        let names = function::Entity::find()
            .select_only()
            .column(function::Column::Name)
            .filter(function::Column::Module.eq(module))
            .into_tuple()
            .all(&self.db)
            .await?;
        Ok(names)
    }

    async fn load_functions(&self, filter: Condition) -> Result<Vec<Function>> {
        let rows = function::Entity::find()
            .find_also_related(module::Entity)
            .find_also_related(code::Entity)
            .filter(filter.clone())
            .all(&self.db)
            .await?;
        let bindings = binding::Entity::find()
            .inner_join(function::Entity)
            .filter(filter)
            .order_by_asc(binding::Column::Position)
            .all(&self.db)
            .await?;
        let mut bindings_of = HashMap::<String, Vec<binding::Model>>::new();
        for binding in bindings {
            bindings_of.entry(binding.function_id.clone()).or_default().push(binding);
        }
        let functions = rows.into_iter().map(|row| {
            let bindings = bindings_of.remove(&row.0.id).unwrap_or_default();
            to_function(self.keyring, row, bindings)
        });
        functions.collect()
    }
}

impl Write {
    /// Inserts a function. Its name must be free and its code stored. Returns the stored function.
    pub(crate) async fn insert_function(
        &mut self,
        function: Function,
        bindings: FunctionBindings,
    ) -> Result<Function> {
        let function = Function { created_at_ms: self.now_ms, ..function };
        let row = self.to_row(&function);
        row.clone().into_active_model().insert(&self.transaction).await?;
        self.put_function(&row, bindings).await
    }

    /// Updates a function and the given lists of bindings. Deletes the former code if no other function uses
    /// it. Returns the stored function.
    pub(crate) async fn update_function(
        &mut self,
        function: Function,
        former_code: &[u8],
        bindings: FunctionBindings,
    ) -> Result<Function> {
        let row = self.to_row(&function);
        row.clone().into_active_model().reset_all().update(&self.transaction).await?;
        self.delete_unused_code(former_code).await?;
        self.put_function(&row, bindings).await
    }

    /// Deletes a function, and its code if no other function uses it.
    pub(crate) async fn delete_function(&mut self, function: &Function) -> Result<()> {
        function::Entity::delete_by_id(&function.id).exec(&self.transaction).await?;
        if let Some(code) = &function.code {
            self.delete_unused_code(&code.hash).await?;
        }
        self.changed(Change::FunctionDeleted(FunctionDeleted {
            id: function.id.clone(),
            module: function.module.clone(),
            name: function.name.clone(),
            owner: function.owner.clone(),
        }));
        Ok(())
    }

    async fn put_function(&mut self, row: &function::Model, bindings: FunctionBindings) -> Result<Function> {
        self.replace_bindings(&row.id, BindingRole::Event, bindings.events).await?;
        self.replace_bindings(&row.id, BindingRole::Sink, bindings.sinks).await?;
        let function = self.read().function(&row.module, &row.name).await?;
        let function = function.ok_or_else(|| DatabaseError::Failed("a function vanished".into()))?;
        self.changed(Change::FunctionPut(function.clone()));
        Ok(function)
    }

    fn to_row(&self, function: &Function) -> function::Model {
        let metadata = function.metadata.clone().unwrap_or_default();
        let limits = function.limits.unwrap_or_default();
        function::Model {
            id: function.id.clone(),
            module: function.module.clone(),
            name: function.name.clone(),
            code_hash: function.code.as_ref().map_or_else(Vec::new, |code| code.hash.to_vec()),
            tag: metadata.tag,
            capacity_kb: metadata.capacity_kb.cast_signed(),
            idempotent: metadata.idempotent,
            script: metadata.script,
            memory_bytes: limits.memory_bytes.cast_signed(),
            timeout_ms: limits.timeout_ms.cast_signed(),
            output_bytes: limits.output_bytes.cast_signed(),
            revision: self.revision.cast_signed(),
            created_at_ms: function.created_at_ms,
            updated_at_ms: self.now_ms,
            creator: function.creator.clone(),
        }
    }
}

fn to_function(
    keyring: &Keyring,
    (row, module, code): (function::Model, Option<module::Model>, Option<code::Model>),
    bindings: Vec<binding::Model>,
) -> Result<Function> {
    // Foreign keys guarantee that both exist.
    let (Some(module), Some(code)) = (module, code) else {
        return Err(DatabaseError::Failed(format!("the function {} has lost its module or code", row.id)));
    };
    let (events, sinks): (Vec<_>, Vec<_>) =
        bindings.into_iter().partition(|binding| binding.role == i32::from(BindingRole::Event));
    let redacted = |rows: Vec<_>| rows.into_iter().map(|row| to_redacted_binding(keyring, row)).collect();
    Ok(Function {
        id: row.id,
        module: row.module,
        name: row.name,
        owner: module.owner,
        code: Some(Code { hash: Bytes::from(code.hash), size: code.size.cast_unsigned(), kind: code.kind }),
        metadata: Some(Metadata {
            tag: row.tag,
            capacity_kb: row.capacity_kb.cast_unsigned(),
            idempotent: row.idempotent,
            script: row.script,
        }),
        limits: Some(Limits {
            memory_bytes: row.memory_bytes.cast_unsigned(),
            timeout_ms: row.timeout_ms.cast_unsigned(),
            output_bytes: row.output_bytes.cast_unsigned(),
        }),
        events: redacted(events),
        sinks: redacted(sinks),
        revision: row.revision.cast_unsigned(),
        created_at_ms: row.created_at_ms,
        updated_at_ms: row.updated_at_ms,
        creator: row.creator,
    })
}
