//! APP scripts: stored and listed.

use proto::registry::v1::Script;

use crate::error::{RegistryError, Result};
use crate::names;
use crate::registry::Registry;

/// A script is written by hand.
const MAX_SCRIPT_BYTES: usize = 256 << 10;

impl Registry {
    /// Stores a script. Gives the revision beside it.
    pub(crate) async fn create_script(&self, script: Script) -> Result<(Script, u64)> {
        names::check(&script.name)?;
        check_content(&script.content)?;
        let mut write = self.store.write().await?;
        if write.read().script(&script.name).await?.is_some() {
            return Err(RegistryError::name_taken());
        }
        write.insert_script(&script).await?;
        Ok((script, write.commit().await?))
    }

    /// The script of this name.
    pub(crate) async fn get_script(&self, name: &str) -> Result<Script> {
        let script = if names::is_name(name) { self.store.read().script(name).await? } else { None };
        script.ok_or_else(|| RegistryError::ScriptNotFound(name.to_owned()))
    }

    /// All scripts.
    pub(crate) async fn list_scripts(&self) -> Result<Vec<Script>> {
        let mut scripts = self.store.read().scripts().await?;
        scripts.sort_by(|a, b| names::order(&a.name, &b.name));
        Ok(scripts)
    }

    /// Deletes a script.
    pub(crate) async fn delete_script(&self, name: &str) -> Result<u64> {
        let mut write = self.store.write().await?;
        if !names::is_name(name) || !write.delete_script(name).await? {
            return Err(RegistryError::ScriptNotFound(name.to_owned()));
        }
        Ok(write.commit().await?)
    }
}

fn check_content(content: &str) -> Result<()> {
    if content.trim().is_empty() {
        return Err(RegistryError::field("content", "can't be blank"));
    }
    if content.len() > MAX_SCRIPT_BYTES {
        return Err(RegistryError::TooLarge { what: "the script", limit: MAX_SCRIPT_BYTES as u64 });
    }
    // PostgreSQL has no text with it, and neither has YAML.
    if content.contains('\0') {
        return Err(RegistryError::field("content", "must not contain NUL characters"));
    }
    Ok(())
}
