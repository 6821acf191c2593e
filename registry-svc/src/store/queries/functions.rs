//! Functions, with their bindings.

use std::collections::HashMap;

use bytes::Bytes;
use proto::registry::v1::change::Change;
use proto::registry::v1::{Binding, BindingRole, Code, Function, FunctionDeleted, Limits, Metadata};
use sea_orm::sea_query::{Expr, ExprTrait as _};
use sea_orm::{
    ActiveModelTrait as _, ColumnTrait as _, Condition, ConnectionTrait as _, DbBackend, DbErr,
    EntityTrait as _, FromQueryResult, IntoActiveModel as _, JoinType, PaginatorTrait as _, QueryFilter as _,
    QueryOrder as _, QueryResult, QuerySelect as _, RelationTrait as _, Select,
};

use super::MAX_IDS;
use super::bindings::to_redacted_binding;
use crate::keyring::Keyring;
use crate::names::DEFAULT_MODULE;
use crate::store::entity::{binding, code, function, module};
use crate::store::{DatabaseError, Reader, Result, Write};

/// New bindings of a function. Absent lists are not changed.
#[derive(Debug, Default)]
pub(crate) struct FunctionBindings {
    pub(crate) events: Option<Vec<Binding>>,
    pub(crate) sinks: Option<Vec<Binding>>,
}

/// A function with what other tables have of it.
struct FunctionRow {
    function: function::Model,
    owner: String,
    code_size: i64,
    code_kind: i32,
}

/// Reads the columns of [`rows`] by their positions: to find each by its name is most of the work with many functions.
impl FromQueryResult for FunctionRow {
    fn from_query_result(row: &QueryResult, _: &str) -> Result<Self, DbErr> {
        let function = function::Model {
            id: row.try_get_by_index(0)?,
            module: row.try_get_by_index(1)?,
            name: row.try_get_by_index(2)?,
            code_hash: row.try_get_by_index(3)?,
            tag: row.try_get_by_index(4)?,
            capacity_kb: row.try_get_by_index(5)?,
            idempotent: row.try_get_by_index(6)?,
            script: row.try_get_by_index(7)?,
            memory_bytes: row.try_get_by_index(8)?,
            timeout_ms: row.try_get_by_index(9)?,
            output_bytes: row.try_get_by_index(10)?,
            revision: row.try_get_by_index(11)?,
            created_at_ms: row.try_get_by_index(12)?,
            updated_at_ms: row.try_get_by_index(13)?,
            creator: row.try_get_by_index(14)?,
        };
        Ok(Self {
            function,
            owner: row.try_get_by_index(15)?,
            code_size: row.try_get_by_index(16)?,
            code_kind: row.try_get_by_index(17)?,
        })
    }
}

/// Selects the columns that [`FunctionRow`] reads. Foreign keys guarantee that each function has a module and code.
fn rows() -> Select<function::Entity> {
    use function::Column;
    let own = [
        Column::Id,
        Column::Module,
        Column::Name,
        Column::CodeHash,
        Column::Tag,
        Column::CapacityKb,
        Column::Idempotent,
        Column::Script,
        Column::MemoryBytes,
        Column::TimeoutMs,
        Column::OutputBytes,
        Column::Revision,
        Column::CreatedAtMs,
        Column::UpdatedAtMs,
        Column::Creator,
    ];
    function::Entity::find()
        .select_only()
        .columns(own)
        .column(module::Column::Owner)
        .column(code::Column::Size)
        .column(code::Column::Kind)
        .join(JoinType::InnerJoin, function::Relation::Module.def())
        .join(JoinType::InnerJoin, function::Relation::Code.def())
}

impl Reader<'_> {
    /// The function with this name. The secrets of bindings are redacted in all functions returned here.
    pub(crate) async fn function(&self, module: &str, name: &str) -> Result<Option<Function>> {
        Ok(self.load(rows().filter(has_name(module, name))).await?.pop())
    }

    /// The functions of a module, unordered.
    pub(crate) async fn functions_of(&self, module: &str) -> Result<Vec<Function>> {
        self.load(rows().filter(function::Column::Module.eq(module))).await
    }

    /// The next functions of a module after the one with the name `after`, at most `limit`; see [`crate::names::order`].
    /// The first ones if `after` is empty.
    pub(crate) async fn functions_by_name(
        &self,
        module: &str,
        after: &str,
        limit: u64,
    ) -> Result<Vec<Function>> {
        // It comes first, whatever the order of the others is.
        let first = if after.is_empty() { self.function(module, DEFAULT_MODULE).await? } else { None };
        let after = if after == DEFAULT_MODULE { "" } else { after };
        let next = by_name(self.db.get_database_backend(), module, after).limit(limit);
        let mut functions = Vec::from_iter(first);
        functions.extend(self.load(next).await?);
        functions.truncate(usize::try_from(limit).unwrap_or(usize::MAX));
        Ok(functions)
    }

    /// The next functions after the one with the id `after`, at most `limit`, ordered by id.
    pub(crate) async fn functions_by_id(&self, after: &str, limit: u64) -> Result<Vec<Function>> {
        let next = rows().filter(function::Column::Id.gt(after)).order_by_asc(function::Column::Id);
        self.load(next.limit(limit)).await
    }

    /// The functions that use this script, unordered.
    pub(crate) async fn functions_with_script(&self, script: &str) -> Result<Vec<Function>> {
        self.load(rows().filter(function::Column::Script.eq(script))).await
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

    async fn load(&self, functions: Select<function::Entity>) -> Result<Vec<Function>> {
        let rows = functions.into_model::<FunctionRow>().all(&self.db).await?;
        let mut bindings_of = HashMap::<String, Vec<binding::Model>>::new();
        for rows in rows.chunks(MAX_IDS) {
            let bindings = binding::Entity::find()
                .filter(binding::Column::FunctionId.is_in(rows.iter().map(|row| &*row.function.id)))
                .order_by_asc(binding::Column::Position)
                .all(&self.db)
                .await?;
            for binding in bindings {
                bindings_of.entry(binding.function_id.clone()).or_default().push(binding);
            }
        }
        let functions = rows.into_iter().map(|row| {
            let bindings = bindings_of.remove(&row.function.id).unwrap_or_default();
            to_function(self.keyring, row, bindings)
        });
        Ok(functions.collect())
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

/// Those of a module after a name, without the default one.
fn by_name(database: DbBackend, module: &str, after: &str) -> Select<function::Entity> {
    // By bytes, as SQLite sorts: PostgreSQL would sort by locale.
    let name = match database {
        DbBackend::Postgres => Expr::cust(r#""function"."name" COLLATE "C""#),
        _ => Expr::col((function::Entity, function::Column::Name)),
    };
    rows()
        .filter(function::Column::Module.eq(module))
        .filter(function::Column::Name.ne(DEFAULT_MODULE))
        .filter(name.clone().gt(after))
        .order_by_asc(name)
}

fn has_name(module: &str, name: &str) -> Condition {
    Condition::all().add(function::Column::Module.eq(module)).add(function::Column::Name.eq(name))
}

fn to_function(keyring: &Keyring, row: FunctionRow, bindings: Vec<binding::Model>) -> Function {
    let FunctionRow { function: row, owner, code_size, code_kind } = row;
    let (events, sinks): (Vec<_>, Vec<_>) =
        bindings.into_iter().partition(|binding| binding.role == i32::from(BindingRole::Event));
    let redacted = |rows: Vec<_>| rows.into_iter().map(|row| to_redacted_binding(keyring, row)).collect();
    Function {
        id: row.id,
        module: row.module,
        name: row.name,
        owner,
        code: Some(Code {
            hash: Bytes::from(row.code_hash),
            size: code_size.cast_unsigned(),
            kind: code_kind,
        }),
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
    }
}

#[cfg(test)]
mod tests {
    use sea_orm::{ConnectionTrait as _, QueryTrait as _, Statement};

    use super::*;
    use crate::store::tests::store;

    /// How SQLite finds the rows of a query.
    async fn plan(functions: Select<function::Entity>) -> Vec<String> {
        let store = store().await;
        let Statement { sql, values, .. } = functions.build(DbBackend::Sqlite);
        let explain = format!("EXPLAIN QUERY PLAN {sql}");
        let explain =
            Statement::from_sql_and_values(DbBackend::Sqlite, explain, values.into_iter().flatten());
        let steps = store.db.query_all_raw(explain).await.expect("a plan");
        steps.iter().map(|step| step.try_get("", "detail").expect("a text")).collect()
    }

    #[tokio::test]
    async fn a_page_reads_its_own_rows_only() {
        let by_id = rows().filter(function::Column::Id.gt("x")).order_by_asc(function::Column::Id).limit(10);
        for (pages, index) in [
            (by_name(DbBackend::Sqlite, "m", "x").limit(10), "(module=? AND name>?)"),
            (by_id, "(id>?)"),
            (rows().filter(has_name("m", "x")), "(module=? AND name=?)"),
        ] {
            let plan = plan(pages).await;
            assert!(plan.iter().any(|step| step.contains(index)), "{plan:?}");
            let reads_all = |step: &String| step.starts_with("SCAN") || step.contains("TEMP B-TREE");
            assert!(!plan.iter().any(reads_all), "{plan:?}");
        }
    }
}
