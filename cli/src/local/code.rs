//! The code of a function: a binary, or what its folder is built to.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde_json::{Map, Value};

use crate::project::{Manifest, Project, spinner};

/// A function to run.
#[derive(Debug, PartialEq)]
pub struct Function {
    pub module: String,
    pub name: String,
    /// As in the REST API.
    pub metadata: Map<String, Value>,
    pub code: Vec<u8>,
    /// Where the code is.
    pub file: PathBuf,
}

/// Reads a binary, or builds what is in a folder.
pub async fn of(path: &Path) -> anyhow::Result<Function> {
    match path.is_dir() {
        true => build(path).await,
        false => read(path, None),
    }
}

/// Builds the function in a folder, with a spinner on a terminal.
pub async fn build(folder: &Path) -> anyhow::Result<Function> {
    let project = Project::open(folder, None)?;
    let bar = spinner(&format!("Building with {}", project.toolchain()));
    let built = project.build(&bar).await;
    bar.finish_and_clear();
    read(&built?, project.manifest)
}

/// The binary in this folder that is its source: its manifest says where it is, and not how to build it.
pub fn prebuilt(folder: &Path) -> anyhow::Result<Option<PathBuf>> {
    let build = Manifest::read_if_present(folder)?.and_then(|manifest| manifest.build);
    Ok(build.filter(|build| build.command.is_none()).map(|build| build.output))
}

/// Reads a binary. Without a manifest, the function has the name of the file.
fn read(file: &Path, manifest: Option<Manifest>) -> anyhow::Result<Function> {
    let code = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    let (module, name, metadata) = match manifest {
        Some(Manifest { module, name, metadata, .. }) => (module, name, metadata),
        None => {
            let name = file.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            (Manifest::DEFAULT_MODULE.to_owned(), name, Map::new())
        }
    };
    Ok(Function { module, name, metadata, code, file: file.to_owned() })
}
