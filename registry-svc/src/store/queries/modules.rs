//! Modules.

use proto::registry::v1::change::Change;
use proto::registry::v1::{Module, ModuleDeleted};
use sea_orm::sea_query::Expr;
use sea_orm::{ActiveModelTrait as _, ColumnTrait as _, EntityTrait as _, QueryFilter as _, Set};

use crate::store::entity::{function, module};
use crate::store::{Reader, Result, Write};

impl Reader<'_> {
    /// The module with this name.
    pub(crate) async fn module(&self, name: &str) -> Result<Option<Module>> {
        let row = module::Entity::find_by_id(name).one(&self.db).await?;
        Ok(row.map(to_module))
    }

    /// All modules, unordered.
    pub(crate) async fn modules(&self) -> Result<Vec<Module>> {
        let rows = module::Entity::find().all(&self.db).await?;
        Ok(rows.into_iter().map(to_module).collect())
    }

    /// Whether the subject with this name, which may have been deleted, owns a module.
    pub(crate) async fn owns_modules(&self, owner: &str) -> Result<bool> {
        let row = module::Entity::find().filter(module::Column::Owner.eq(owner)).one(&self.db).await?;
        Ok(row.is_some())
    }
}

impl Write {
    /// Inserts a module. Its name must be free.
    pub(crate) async fn insert_module(&mut self, module: &Module) -> Result<()> {
        let row = module::ActiveModel { name: Set(module.name.clone()), owner: Set(module.owner.clone()) };
        row.insert(&self.transaction).await?;
        self.changed(Change::ModulePut(module.clone()));
        Ok(())
    }

    /// Renames a module and updates its functions. The new name must be free.
    pub(crate) async fn rename_module(&mut self, module: Module, new_name: &str) -> Result<Module> {
        module::Entity::update_many()
            .col_expr(module::Column::Name, Expr::value(new_name))
            .filter(module::Column::Name.eq(&module.name))
            .exec(&self.transaction)
            .await?;
        // The foreign key has updated the functions' module; they get the new revision, too.
        let in_module = function::Column::Module.eq(new_name);
        function::Entity::update_many()
            .col_expr(function::Column::Revision, Expr::value(self.revision.cast_signed()))
            .filter(in_module)
            .exec(&self.transaction)
            .await?;

        let renamed = Module { name: new_name.to_owned(), ..module.clone() };
        self.changed(Change::ModuleDeleted(ModuleDeleted { name: module.name, owner: module.owner }));
        self.changed(Change::ModulePut(renamed.clone()));
        for function in self.read().functions_of(new_name).await? {
            self.changed(Change::FunctionPut(function));
        }
        Ok(renamed)
    }

    /// Deletes a module, its functions, and code that becomes unused.
    pub(crate) async fn delete_module(&mut self, module: Module) -> Result<()> {
        for function in self.read().functions_of(&module.name).await? {
            self.delete_function(&function).await?;
        }
        module::Entity::delete_by_id(&module.name).exec(&self.transaction).await?;
        self.changed(Change::ModuleDeleted(ModuleDeleted { name: module.name, owner: module.owner }));
        Ok(())
    }
}

fn to_module(row: module::Model) -> Module {
    Module { name: row.name, owner: row.owner }
}
