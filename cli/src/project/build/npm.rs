//! Programs and packages from npm.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Deserialize;
use serde_json::{Map, Value};
use tokio::process::Command;

use super::super::program;
use super::missing;

/// What is read of `package.json`.
#[derive(Default, Deserialize)]
pub(super) struct Package {
    #[serde(default)]
    dependencies: Map<String, Value>,
    /// The file that is run.
    pub(super) main: Option<String>,
}

impl Package {
    /// That of the folder; an empty one if there is none.
    pub(super) fn read(folder: &Path) -> anyhow::Result<Self> {
        let file = folder.join("package.json");
        match std::fs::read_to_string(&file) {
            Ok(text) => serde_json::from_str(&text).with_context(|| file.display().to_string()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }
}

/// Installs the packages that the project names, unless they are there. Packages for its development are only needed
/// if their programs, `wanted`, are nowhere else.
pub(super) async fn install(folder: &Path, wanted: &str, bar: &ProgressBar) -> anyhow::Result<()> {
    let is_installed = folder.ancestors().any(|folder| folder.join("node_modules").is_dir());
    let has_program = program::find(&[wanted], &program::npm_folders(folder)).is_some();
    let package = Package::read(folder)?;
    if is_installed || !folder.join("package.json").is_file() {
        return Ok(());
    }
    if has_program && package.dependencies.is_empty() {
        return Ok(());
    }
    let Some(npm) = program::find(&["npm"], &[]) else {
        return Err(missing("npm", "apt-get install npm   (Debian)\nhttps://nodejs.org   (elsewhere)"));
    };
    bar.set_message("npm install");
    let install = ["install", "--no-audit", "--no-fund", "--loglevel=error"];
    program::run(Command::new(npm).args(install).current_dir(folder), bar).await?;
    Ok(())
}

/// A program of npm's.
pub(super) fn find(name: &str, folder: &Path) -> Option<PathBuf> {
    program::find(&[name], &program::npm_folders(folder))
}
