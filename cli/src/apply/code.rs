//! The code of a function, built if need be.

use std::path::Path;

use anyhow::{Context as _, bail};

use super::tree::Function;

/// Builds a function and reads its code.
pub async fn build(function: &Function) -> anyhow::Result<Vec<u8>> {
    let build = function.manifest.build.as_ref().filter(|build| build.command.is_none());
    let Some(build) = build else {
        bail!("{}: cannot build it", function.folder.display());
    };
    read(&function.folder.join(&build.output))
}

fn read(file: &Path) -> anyhow::Result<Vec<u8>> {
    let code = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if !code.starts_with(b"\0asm") {
        bail!("{} is not a WebAssembly binary", file.display());
    }
    Ok(code)
}
