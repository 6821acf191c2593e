//! AssemblyScript, with `asc` from npm.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use tokio::process::Command;

use super::super::program;
use super::{missing, npm, output, source};

pub(super) async fn build(folder: &Path, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
    // The transform json-as takes assembly/index.ts for a file of its own, and its exports are lost.
    let entry = source(folder, &["assembly/main.ts", "assembly/index.ts"])?;
    let entry = entry.strip_prefix(folder).unwrap_or(&entry);
    npm::install(folder, "asc", bar).await?;
    let Some(asc) = npm::find("asc", folder) else {
        return Err(missing("asc, the AssemblyScript compiler,", "npm install --save-dev assemblyscript"));
    };
    let file = output(folder)?;
    let mut command = Command::new(asc);
    command.arg(entry);
    if folder.join("asconfig.json").is_file() {
        command.args(["--target", "release"]);
    } else {
        command.args(["--optimize", "--runtime", "stub"]);
    }
    program::run(command.arg("--outFile").arg(&file).current_dir(folder), bar).await?;
    Ok(file)
}
