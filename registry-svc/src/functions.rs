//! Creates, reads, updates and deletes functions.

use bytes::Bytes;
use futures::Stream;
use mesh::paging::Page;
use mesh::{Caller, Error};
use proto::registry::v1::{CreateFunctionSpec, Function, Limits, Metadata, UpdateFunctionSpec};
use uuid::Uuid;

use crate::code::{self, stored_memory_bytes};
use crate::error::{RegistryError, Result};
use crate::modules::reached_module;
use crate::names;
use crate::registry::Registry;
use crate::scripts;
use crate::store::{FunctionBindings, Reader};

/// How many functions of a list are read from the database at once.
const READ_AT_ONCE: u32 = 1000;

impl Registry {
    /// Creates a function with the code in `chunks`. Returns the function and the revision.
    pub(crate) async fn create_function(
        &self,
        caller: &Caller,
        spec: CreateFunctionSpec,
        chunks: impl Stream<Item = Result<Bytes, Error>>,
    ) -> Result<(Function, u64)> {
        // Requests that would be refused anyway are refused before the upload.
        names::check(&spec.name)?;
        let metadata = accept_metadata(spec.metadata.unwrap_or_default())?;
        let limits = accept_limits(spec.limits.unwrap_or_default())?;
        let bindings = FunctionBindings {
            events: Some(self.accept_bindings("events", spec.events)?),
            sinks: Some(self.accept_bindings("sinks", spec.sinks)?),
        };
        reached_module(&self.store.read(), caller, &spec.module).await?;
        refuse_taken(&self.store.read(), &spec.module, &spec.name).await?;
        refuse_missing_script(&self.store.read(), &metadata).await?;

        let upload = self.uploads.receive(chunks).await?;
        let upload = upload.ok_or_else(|| RegistryError::field("code", "can't be blank"))?;
        code::check_memory("code", upload.memory_bytes, &limits, self.max_memory_bytes)?;

        let mut write = self.store.write().await?;
        let module = reached_module(&write.read(), caller, &spec.module).await?;
        refuse_taken(&write.read(), &spec.module, &spec.name).await?;
        refuse_missing_script(&write.read(), &metadata).await?;
        write.insert_code(&upload.code, &upload.bytes).await?;
        let function = Function {
            id: Uuid::now_v7().to_string(),
            module: module.name,
            name: spec.name,
            code: Some(upload.code),
            metadata: Some(metadata),
            limits: Some(limits),
            creator: caller.owner().to_owned(),
            ..Function::default()
        };
        let function = write.insert_function(function, bindings).await?;
        self.refuse_too_many_params(&write, &function).await?;
        Ok((function, write.commit().await?))
    }

    /// The function with this name.
    pub(crate) async fn get_function(&self, caller: &Caller, module: &str, name: &str) -> Result<Function> {
        let snapshot = self.store.snapshot().await?;
        reached_function(&snapshot.read(), caller, module, name).await
    }

    /// The functions of a module after the one with the name `after`, sorted by name, as many as a page of at most `size`
    /// (0: any number) takes. Returns the name after which the next page begins, too; empty for the last page.
    pub(crate) async fn list_functions(
        &self,
        caller: &Caller,
        module: &str,
        size: u32,
        after: String,
    ) -> Result<(Vec<Function>, String)> {
        let snapshot = self.store.snapshot().await?;
        let reader = snapshot.read();
        reached_module(&reader, caller, module).await?;
        // One more shows whether there is a next page.
        let limit = if size == 0 { READ_AT_ONCE } else { READ_AT_ONCE.min(size.saturating_add(1)) };
        let (mut page, mut after) = (Page::new(size), after);
        loop {
            let functions = reader.functions_by_name(module, &after, limit.into()).await?;
            let is_end = functions.len() < limit as usize;
            for function in functions {
                let name = function.name.clone();
                if !page.add(function) {
                    return Ok((page.items, after));
                }
                after = name;
            }
            if is_end {
                return Ok((page.items, String::new()));
            }
        }
    }

    /// Changes what `spec` sets, and the code if `chunks` has any. Returns the function and the revision.
    pub(crate) async fn update_function(
        &self,
        caller: &Caller,
        spec: UpdateFunctionSpec,
        chunks: impl Stream<Item = Result<Bytes, Error>>,
    ) -> Result<(Function, u64)> {
        if let Some(new_name) = &spec.new_name {
            names::check(new_name)?;
        }
        let metadata = spec.metadata.map(accept_metadata).transpose()?;
        let limits = spec.limits.map(accept_limits).transpose()?;
        let bindings = FunctionBindings {
            events: self.accept_binding_list("events", spec.events)?,
            sinks: self.accept_binding_list("sinks", spec.sinks)?,
        };
        changeable_function(&self.store.snapshot().await?.read(), caller, &spec.module, &spec.name).await?;
        if let Some(metadata) = &metadata {
            refuse_missing_script(&self.store.read(), metadata).await?;
        }

        let upload = self.uploads.receive(chunks).await?;

        let mut write = self.store.write().await?;
        let mut function = changeable_function(&write.read(), caller, &spec.module, &spec.name).await?;
        if let Some(metadata) = &metadata {
            refuse_missing_script(&write.read(), metadata).await?;
        }
        if let Some(new_name) = spec.new_name.filter(|new_name| *new_name != spec.name) {
            refuse_taken(&write.read(), &spec.module, &new_name).await?;
            function.name = new_name;
        }
        function.metadata = metadata.or(function.metadata);
        function.limits = limits.or(function.limits);
        let former_code = function.code.clone().unwrap_or_default().hash;
        let new_limits = function.limits.unwrap_or_default();
        if limits.is_some() && upload.is_none() {
            let needed = stored_memory_bytes(&write.read(), &former_code).await?;
            code::check_memory("memory_bytes", needed, &new_limits, self.max_memory_bytes)?;
        }
        if let Some(upload) = upload {
            code::check_memory("code", upload.memory_bytes, &new_limits, self.max_memory_bytes)?;
            write.insert_code(&upload.code, &upload.bytes).await?;
            function.code = Some(upload.code);
        }
        let has_bindings = bindings.events.is_some() || bindings.sinks.is_some();
        let function = write.update_function(function, &former_code, bindings).await?;
        if has_bindings {
            self.refuse_too_many_params(&write, &function).await?;
        }
        Ok((function, write.commit().await?))
    }

    /// Deletes a function, and its code if no other function uses it. Returns the revision.
    pub(crate) async fn delete_function(&self, caller: &Caller, module: &str, name: &str) -> Result<u64> {
        let mut write = self.store.write_removal().await?;
        let function = changeable_function(&write.read(), caller, module, name).await?;
        write.delete_function(&function).await?;
        Ok(write.commit().await?)
    }
}

/// The function with this name, in a module that the caller can access.
async fn reached_function(
    reader: &Reader<'_>,
    caller: &Caller,
    module: &str,
    name: &str,
) -> Result<Function> {
    reached_module(reader, caller, module).await?;
    let function = if names::is_name(name) { reader.function(module, name).await? } else { None };
    function
        .ok_or_else(|| RegistryError::FunctionNotFound { module: module.to_owned(), name: name.to_owned() })
}

/// The function with this name, if the caller may change and delete it. In a module with an owner, everyone
/// with access to the module may; in a shared module, only the function's creator and administrators may.
async fn changeable_function(
    reader: &Reader<'_>,
    caller: &Caller,
    module: &str,
    name: &str,
) -> Result<Function> {
    let function = reached_function(reader, caller, module, name).await?;
    if caller.may_change_function(&function.owner, &function.creator) {
        return Ok(function);
    }
    Err(RegistryError::PermissionDenied(
        "only its creator and administrators may change or delete a function of a shared module",
    ))
}

/// Refuses a script that does not exist, because invocations that use it would fail.
async fn refuse_missing_script(reader: &Reader<'_>, metadata: &Metadata) -> Result<()> {
    if !metadata.script.is_empty() && scripts::find(reader, &metadata.script).await?.is_none() {
        return Err(RegistryError::field("script", format!("does not exist: {:?}", metadata.script)));
    }
    Ok(())
}

/// Refuses a name that is already in use in the module.
async fn refuse_taken(reader: &Reader<'_>, module: &str, name: &str) -> Result<()> {
    match reader.has_function(module, name).await? {
        true => Err(RegistryError::FunctionExists { module: module.to_owned(), name: name.to_owned() }),
        false => Ok(()),
    }
}

fn accept_metadata(metadata: Metadata) -> Result<Metadata> {
    names::check_text("tag", &metadata.tag)?;
    let capacity_kb = match accept_amount("capacity", metadata.capacity_kb)? {
        0 => proto::DEFAULT_CAPACITY_KB,
        capacity_kb => capacity_kb,
    };
    Ok(Metadata { capacity_kb, ..metadata })
}

fn accept_limits(limits: Limits) -> Result<Limits> {
    Ok(Limits {
        memory_bytes: accept_amount("memory_bytes", limits.memory_bytes)?,
        timeout_ms: accept_amount("timeout_ms", limits.timeout_ms)?,
        output_bytes: accept_amount("output_bytes", limits.output_bytes)?,
    })
}

/// Databases store integers up to 2^63 - 1.
fn accept_amount(field: &'static str, amount: u64) -> Result<u64> {
    match i64::try_from(amount) {
        Ok(_) => Ok(amount),
        Err(_) => Err(RegistryError::field(field, format!("should be at most {}", i64::MAX))),
    }
}
