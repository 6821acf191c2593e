//! Modules: named groups of functions.

use mesh::Caller;
use proto::registry::v1::Module;

use crate::error::{RegistryError, Result};
use crate::names::{self, DEFAULT_MODULE};
use crate::registry::Registry;
use crate::store::Reader;

impl Registry {
    /// Creates an empty module that belongs to the caller. Returns the module and the revision.
    pub(crate) async fn create_module(&self, caller: &Caller, name: &str) -> Result<(Module, u64)> {
        names::check(name)?;
        let mut write = self.store.write().await?;
        if write.read().module(name).await?.is_some() {
            return Err(RegistryError::name_taken());
        }
        let module = Module { name: name.to_owned(), owner: caller.owner().to_owned() };
        write.insert_module(&module).await?;
        Ok((module, write.commit().await?))
    }

    /// A module and the names of its functions, sorted.
    pub(crate) async fn get_module(&self, caller: &Caller, name: &str) -> Result<(Module, Vec<String>)> {
        let snapshot = self.store.snapshot().await?;
        let module = reached_module(&snapshot.read(), caller, name).await?;
        let mut functions = snapshot.read().function_names(name).await?;
        functions.sort_by(|a, b| names::order(a, b));
        Ok((module, functions))
    }

    /// The modules that the caller can access, sorted by name.
    pub(crate) async fn list_modules(&self, caller: &Caller) -> Result<Vec<Module>> {
        let mut modules = self.store.read().modules().await?;
        modules.retain(|module| caller.reaches(&module.owner));
        modules.sort_by(|a, b| names::order(&a.name, &b.name));
        Ok(modules)
    }

    /// Renames a module, which keeps its functions. Returns the module and the revision.
    pub(crate) async fn rename_module(
        &self,
        caller: &Caller,
        name: &str,
        new_name: &str,
    ) -> Result<(Module, u64)> {
        let mut write = self.store.write().await?;
        let module = reached_module(&write.read(), caller, name).await?;
        names::check(new_name)?;
        if new_name == name {
            return Ok((module, write.revision_before()));
        }
        if name == DEFAULT_MODULE {
            return Err(RegistryError::DefaultModule("rename"));
        }
        if write.read().module(new_name).await?.is_some() {
            return Err(RegistryError::name_taken());
        }
        let module = write.rename_module(module, new_name).await?;
        Ok((module, write.commit().await?))
    }

    /// Deletes a module, its functions, and code that becomes unused. Returns the revision.
    pub(crate) async fn delete_module(&self, caller: &Caller, name: &str) -> Result<u64> {
        let mut write = self.store.write_removal().await?;
        let module = reached_module(&write.read(), caller, name).await?;
        if name == DEFAULT_MODULE {
            return Err(RegistryError::DefaultModule("delete"));
        }
        write.delete_module(module).await?;
        Ok(write.commit().await?)
    }
}

/// The module with this name. For callers without access, it does not exist.
pub(crate) async fn reached_module(reader: &Reader<'_>, caller: &Caller, name: &str) -> Result<Module> {
    let module = if names::is_name(name) { reader.module(name).await? } else { None };
    module
        .filter(|module| caller.reaches(&module.owner))
        .ok_or_else(|| RegistryError::ModuleNotFound(name.to_owned()))
}
