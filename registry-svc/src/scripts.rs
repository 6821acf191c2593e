//! Creates, reads and deletes APP scripts.

use mesh::Caller;
use proto::registry::v1::{Function, Script};

use crate::error::{RegistryError, Result};
use crate::names;
use crate::registry::Registry;
use crate::store::Reader;

/// The maximum size of a script. Scripts are written by hand.
const MAX_SCRIPT_BYTES: usize = 256 << 10;

/// The maximum number of functions that an error names.
const MAX_NAMED_FUNCTIONS: usize = 5;

impl Registry {
    /// Stores a script, which belongs to the caller. Returns the script and the revision.
    pub(crate) async fn create_script(&self, caller: &Caller, script: Script) -> Result<(Script, u64)> {
        names::check_script(&script.name)?;
        check_content(&script.content)?;
        let mut write = self.store.write().await?;
        if write.read().script(&script.name).await?.is_some() {
            return Err(RegistryError::name_taken());
        }
        refuse_kept_name(&write.read(), caller, &script.name).await?;
        let script = Script { owner: owner(caller).to_owned(), ..script };
        write.insert_script(&script).await?;
        Ok((script, write.commit().await?))
    }

    /// The script with this name.
    pub(crate) async fn get_script(&self, name: &str) -> Result<Script> {
        let script = find(&self.store.read(), name).await?;
        script.ok_or_else(|| RegistryError::ScriptNotFound(name.to_owned()))
    }

    /// All scripts, sorted by name.
    pub(crate) async fn list_scripts(&self) -> Result<Vec<Script>> {
        let mut scripts = self.store.read().scripts().await?;
        scripts.sort_by(|a, b| names::order(&a.name, &b.name));
        Ok(scripts)
    }

    /// Deletes a script of the caller. Refuses to delete one that functions use unless `force` is set; then its
    /// name is kept for its owner. Returns the revision.
    pub(crate) async fn delete_script(&self, caller: &Caller, name: &str, force: bool) -> Result<u64> {
        let mut write = self.store.write_removal().await?;
        let script = find(&write.read(), name).await?;
        let script = script.ok_or_else(|| RegistryError::ScriptNotFound(name.to_owned()))?;
        if !may_delete(caller, &script.owner) {
            return Err(RegistryError::PermissionDenied(
                "only its owner and administrators may delete a script",
            ));
        }
        let users = write.read().functions_with_script(name).await?;
        if !users.is_empty() && !force {
            return Err(RegistryError::ScriptInUse { name: name.to_owned(), users: in_words(caller, users) });
        }
        write.delete_script(name, !users.is_empty()).await?;
        Ok(write.commit().await?)
    }
}

/// The script with this name, if it exists. Invalid names are not looked up.
pub(crate) async fn find(reader: &Reader<'_>, name: &str) -> Result<Option<Script>> {
    Ok(if names::is_script(name) { reader.script(name).await? } else { None })
}

/// The owner of the scripts that this caller creates. Those of administrators are shared.
fn owner(caller: &Caller) -> &str {
    match caller {
        Caller::Service | Caller::Admin(_) => "",
        Caller::Subject(name) => name,
    }
}

/// Whether the caller may delete a script of this owner.
fn may_delete(caller: &Caller, script_owner: &str) -> bool {
    match caller {
        Caller::Service | Caller::Admin(_) => true,
        Caller::Subject(name) => name == script_owner,
    }
}

/// Refuses the name of another's deleted script while functions use it: with a new script of this name, the caller
/// would decide where they run.
async fn refuse_kept_name(reader: &Reader<'_>, caller: &Caller, name: &str) -> Result<()> {
    let Some(former_owner) = reader.deleted_script_owner(name).await? else { return Ok(()) };
    if may_delete(caller, &former_owner) || reader.functions_with_script(name).await?.is_empty() {
        return Ok(());
    }
    let message =
        "is that of a deleted script that functions use; only its owner and administrators may create it";
    Err(RegistryError::field("name", message))
}

/// Names a few of the functions that the caller can access and counts the others.
fn in_words(caller: &Caller, functions: Vec<Function>) -> String {
    let count = functions.len();
    let reached = functions.into_iter().filter(|function| caller.reaches(&function.owner));
    let mut words: Vec<_> =
        reached.map(|function| format!("{}/{}", function.module, function.name)).collect();
    words.sort();
    words.truncate(MAX_NAMED_FUNCTIONS);
    match (words.len(), count - words.len()) {
        (_, 0) => {}
        (0, others) => words.push(format!("{others} function(s) of others")),
        (_, others) => words.push(format!("{others} more")),
    }
    words.join(", ")
}

fn check_content(content: &str) -> Result<()> {
    if content.trim().is_empty() {
        return Err(RegistryError::field("content", "can't be blank"));
    }
    if content.len() > MAX_SCRIPT_BYTES {
        return Err(RegistryError::TooLarge { what: "the script", limit: MAX_SCRIPT_BYTES as u64 });
    }
    // Neither PostgreSQL text nor YAML may contain NUL.
    if content.contains('\0') {
        return Err(RegistryError::field("content", "must not contain NUL characters"));
    }
    Ok(())
}
