//! Rust, with cargo.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::ProgressBar;
use serde::Deserialize;
use tokio::process::Command;
use wasm_toolchain::{TARGET, Toolchain};

use super::super::program;
use super::{missing, source};

/// What cargo says of what it has built.
#[derive(Deserialize)]
struct Message {
    reason: String,
    #[serde(default)]
    manifest_path: PathBuf,
    #[serde(default)]
    filenames: Vec<PathBuf>,
}

pub(super) async fn build(folder: &Path, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
    let manifest = source(folder, &["Cargo.toml"])?;
    let Some(toolchain) = Toolchain::find(folder) else {
        let program = format!("a Rust compiler for {TARGET}");
        return Err(missing(&program, &Toolchain::how_to_get()));
    };
    let mut cargo = Command::from(toolchain.cargo(std::process::Command::new("cargo")));
    cargo.args(["build", "--release", "--target", TARGET, "--message-format=json-render-diagnostics"]);
    let flags = toml::Value::from(vec![wasm_toolchain::remap_cargo_home()]);
    cargo.arg("--config").arg(format!("build.rustflags={flags}"));
    if let (Toolchain::Debian { .. }, None) = (&toolchain, std::env::var_os("CARGO_TARGET_DIR")) {
        // The standard library is compiled once, and not for each function.
        cargo.env("CARGO_TARGET_DIR", cache().join("fl/rust"));
    }
    let printed = program::run(cargo.current_dir(folder), bar).await?;
    let manifest = manifest.canonicalize().context("Cargo.toml")?;
    wasm_of(&printed, &manifest).with_context(|| {
        format!("{} has no `crate-type = [\"cdylib\"]` in [lib]: nothing was linked", manifest.display())
    })
}

/// The binary that was linked for the package with this manifest.
fn wasm_of(printed: &str, manifest: &Path) -> Option<PathBuf> {
    let messages = printed.lines().filter_map(|line| serde_json::from_str::<Message>(line).ok());
    let mut artifacts = messages
        .filter(|message| message.reason == "compiler-artifact" && message.manifest_path == manifest)
        .flat_map(|message| message.filenames);
    artifacts.find(|file| file.extension().is_some_and(|extension| extension == "wasm"))
}

/// The user's folder for what can be made again.
fn cache() -> PathBuf {
    let is_absolute = |path: &PathBuf| path.is_absolute();
    let given = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).filter(is_absolute);
    let home = || std::env::home_dir().map(|home| home.join(".cache"));
    given.or_else(home).unwrap_or_else(|| PathBuf::from(OsString::from("/tmp")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_binary_is_that_of_the_package() {
        let printed = r#"
{"reason":"compiler-artifact","manifest_path":"/d/Cargo.toml","filenames":["/d/libd.rlib"]}
{"reason":"compiler-artifact","manifest_path":"/f/Cargo.toml","filenames":["/t/libf.rlib","/t/f.wasm"]}
{"reason":"build-finished","success":true}"#;
        assert_eq!(wasm_of(printed, Path::new("/f/Cargo.toml")), Some("/t/f.wasm".into()));
        assert_eq!(wasm_of(printed, Path::new("/d/Cargo.toml")), None);
    }
}
