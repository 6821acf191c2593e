//! What `fl apply` has created, which only then may be pruned: `.fl/applied.json` in the folder.
//!
//! The record is by mesh, since one folder may be applied to several, and by the ids of functions, which are never used
//! again: what somebody else has created under the same name is not ours.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use serde::{Deserialize, Serialize};

use crate::profile::{read_text, write_private};

/// The path of the record in a folder.
pub const RECORD: &str = ".fl/applied.json";
/// The version of the format.
const VERSION: u32 = 1;

/// The record of a folder.
#[derive(Debug)]
pub struct Record {
    path: PathBuf,
    mesh: String,
    content: Content,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    version: u32,
    /// By the address of the REST API.
    meshes: BTreeMap<String, Applied>,
}

/// What a mesh has of a folder.
#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Applied {
    /// The modules that were created.
    pub modules: Vec<String>,
    /// The scripts that were created, with the hash of what they were last given.
    pub scripts: BTreeMap<String, String>,
    /// Functions, by their ids.
    pub functions: BTreeMap<String, AppliedFunction>,
}

#[derive(Debug, Default, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AppliedFunction {
    pub module: String,
    pub name: String,
    /// Whether it was created; else it was there before.
    pub created: bool,
    /// The hash of its events and sinks, whose secrets the mesh does not show.
    pub bindings: String,
}

impl Record {
    /// Reads the record of a folder about a mesh.
    pub fn read(root: &Path, mesh: &str) -> anyhow::Result<Self> {
        let path = root.join(RECORD);
        let content = match read_text(&path)? {
            None => Content { version: VERSION, meshes: BTreeMap::new() },
            Some(text) => serde_json::from_str(&text)
                .with_context(|| format!("{} is damaged; without it, nothing is pruned", path.display()))?,
        };
        if content.version != VERSION {
            bail!("{} is of another version of `fl`: {}, not {VERSION}", path.display(), content.version);
        }
        Ok(Self { path, mesh: mesh.to_owned(), content })
    }

    /// What the mesh has of the folder.
    pub fn applied(&self) -> Applied {
        self.content.meshes.get(&self.mesh).cloned().unwrap_or_default()
    }

    /// Changes the record, and writes it if that made a difference.
    pub fn change(&mut self, change: impl FnOnce(&mut Applied)) -> anyhow::Result<()> {
        let mut applied = self.applied();
        change(&mut applied);
        if applied == self.applied() {
            return Ok(());
        }
        self.content.meshes.insert(self.mesh.clone(), applied);
        if let Some(folder) = self.path.parent() {
            fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        }
        write_private(&self.path, &format!("{}\n", serde_json::to_string_pretty(&self.content)?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_mesh_has_its_own_record() {
        let root = tempfile::tempdir().expect("a folder");
        let read = |mesh: &str| Record::read(root.path(), mesh).expect("a record");
        assert_eq!(read("http://a").applied(), Applied::default());
        read("http://a").change(|_| {}).expect("nothing to write");
        assert!(!root.path().join(".fl").exists(), "nothing was applied");
        read("http://a").change(|applied| applied.modules.push("shop".into())).expect("written");
        read("http://b").change(|applied| applied.modules.push("other".into())).expect("written");
        assert_eq!(read("http://a").applied().modules, ["shop"]);
        assert_eq!(read("http://b").applied().modules, ["other"]);
    }

    #[test]
    fn a_damaged_record_is_not_forgotten() {
        let root = tempfile::tempdir().expect("a folder");
        fs::create_dir(root.path().join(".fl")).expect("a folder");
        for (text, word) in [("{", "damaged"), (r#"{"version":2,"meshes":{}}"#, "version")] {
            fs::write(root.path().join(".fl/applied.json"), text).expect("written");
            let error = format!("{:#}", Record::read(root.path(), "http://a").expect_err(text));
            assert!(error.contains(word), "{error}");
        }
    }
}
