//! `mesh.toml`: what belongs to a mesh beside functions.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::Deserialize;

use crate::project;

/// Modules and scripts.
#[derive(Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// Modules. Those of functions need not be named here.
    #[serde(default)]
    pub modules: Vec<Module>,
    /// APP scripts.
    #[serde(default)]
    pub scripts: Vec<Script>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Module {
    pub name: String,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Script {
    pub name: String,
    /// YAML, relative to the manifest.
    pub file: PathBuf,
}

impl Manifest {
    /// The name of the file.
    pub const FILE: &'static str = "mesh.toml";

    /// Reads a file.
    pub fn read(file: &Path) -> anyhow::Result<Self> {
        let text =
            std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        project::parse_toml(&text, file)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_and_scripts_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join(Manifest::FILE);
        let read = |text: &str| {
            std::fs::write(&file, text).expect("written");
            Manifest::read(&file).map_err(|error| error.to_string())
        };
        assert_eq!(read(""), Ok(Manifest::default()));
        let manifest =
            read("[[modules]]\nname = \"shop\"\n\n[[scripts]]\nname = \"near\"\nfile = \"near.yml\"\n");
        let expected = Manifest {
            modules: vec![Module { name: "shop".into() }],
            scripts: vec![Script { name: "near".into(), file: "near.yml".into() }],
        };
        assert_eq!(manifest, Ok(expected));
        for (text, word) in [
            ("[[modules]]\nnme = \"shop\"\n", "mesh.toml:2: modules[0].nme: unknown field `nme`"),
            ("[[scripts]]\nname = \"near\"\n", "missing field `file`"),
            ("[[functions]]\n", "unknown field `functions`"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(word), "{error}");
        }
    }
}
