//! The crate `funless` beside a function. It is not on crates.io yet, so that templates which use it get its source.

use std::path::Path;

use anyhow::Context as _;
use include_dir::{Dir, include_dir};
use toml::{Table, Value};

use super::files;

static SDK: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest/sdk");

/// The manifest of the workspace of the SDK.
const WORKSPACE: &str = include_str!("../../../guest/Cargo.toml");
/// Below the folder of a function.
const FOLDER: &str = "vendor/funless";

/// Writes the crate if the function in this folder uses it from there.
pub(super) fn write(function: &Path) -> anyhow::Result<()> {
    let manifest = std::fs::read_to_string(function.join("Cargo.toml")).unwrap_or_default();
    if !manifest.contains(FOLDER) {
        return Ok(());
    }
    let to = function.join(FOLDER);
    files::write_embedded(&SDK, &to, &mut |path, content| {
        if path.starts_with("examples") || path.starts_with("tests") {
            return Ok(None);
        }
        if !path.ends_with("Cargo.toml") {
            return Ok(Some(content.into()));
        }
        let text = std::str::from_utf8(content).context("the SDK's manifest")?;
        Ok(Some(standalone(text, WORKSPACE)?.into_bytes().into()))
    })
}

/// The manifest of a crate without what it inherits from its workspace, as `cargo package` writes it.
fn standalone(manifest: &str, workspace: &str) -> anyhow::Result<String> {
    let mut manifest: Table = manifest.parse().context("the SDK's manifest")?;
    let workspace: Table = workspace.parse().context("the manifest of the SDK's workspace")?;
    for key in ["lints", "dev-dependencies", "example"] {
        manifest.remove(key);
    }
    for section in ["package", "dependencies"] {
        let inherited = workspace.get("workspace").and_then(|workspace| workspace.get(section)?.as_table());
        if let (Some(table), Some(inherited)) = (manifest.get_mut(section), inherited) {
            inherit(table, inherited);
        }
    }
    if let Some(package) = manifest.get_mut("package").and_then(Value::as_table_mut) {
        package.remove("exclude");
    }
    Ok(toml::to_string(&manifest)?)
}

/// Replaces what is `workspace = true` by what the workspace says.
fn inherit(table: &mut Value, inherited: &Table) {
    for (key, value) in table.as_table_mut().into_iter().flatten() {
        let is_inherited = value.get("workspace").and_then(Value::as_bool) == Some(true);
        if let Some(value_of_workspace) = inherited.get(key).filter(|_| is_inherited) {
            *value = value_of_workspace.clone();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vendored_crate_inherits_nothing() {
        for manifest in ["Cargo.toml", "macros/Cargo.toml"] {
            let text = SDK.get_file(manifest).and_then(|file| file.contents_utf8()).expect("text");
            let standalone = standalone(text, WORKSPACE).expect("a manifest");
            assert!(!standalone.contains("workspace"), "{standalone}");
            let table: Table = standalone.parse().expect("TOML");
            assert_eq!(table["package"]["edition"].as_str(), Some("2024"));
        }
    }
}
