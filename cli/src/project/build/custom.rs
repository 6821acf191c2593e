//! What `[build]` in `function.toml` says.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use tokio::process::Command;

use super::super::manifest::Build;
use super::super::program;

/// Runs the command, if there is one.
pub(super) async fn build(folder: &Path, build: &Build, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
    if let Some(command) = &build.command {
        program::run(Command::new("sh").args(["-c", command]).current_dir(folder), bar).await?;
    }
    Ok(folder.join(&build.output))
}
