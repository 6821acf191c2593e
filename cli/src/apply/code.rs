//! The code of a function.

use super::tree::Function;
use crate::project::{Project, read_wasm, spinner};

/// Builds a function and reads its code.
pub async fn build(function: &Function) -> anyhow::Result<Vec<u8>> {
    let project = Project::open(&function.folder, None)?;
    let bar = spinner(&format!("building {}", function.manifest.name));
    let built = project.build(&bar).await;
    bar.finish_and_clear();
    read_wasm(&built?)
}
