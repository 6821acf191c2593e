//! The code of a function, built if need be.

use std::path::Path;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use super::tree::Function;

/// Builds a function and reads its code.
pub async fn build(function: &Function) -> anyhow::Result<Vec<u8>> {
    let Some(build) = &function.manifest.build else {
        bail!("{}: expected `build.output`", function.origin.file.display());
    };
    if let Some(command) = &build.command {
        let mut shell = Command::new("sh");
        let output = shell.args(["-c", command]).current_dir(&function.folder).output().await?;
        if !output.status.success() {
            let error = String::from_utf8_lossy(&output.stderr);
            bail!("`{command}` in {} failed: {}\n{error}", function.folder.display(), output.status);
        }
    }
    read(&function.folder.join(&build.output))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let code = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if !code.starts_with(b"\0asm") {
        bail!("{} is not a WebAssembly binary", file.display());
    }
    Ok(code)
}
