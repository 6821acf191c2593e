//! The engine of JavaScript functions, `guest/quickjs`, whose binary is committed.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, ensure};
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use crate::workspace;

const FOLDER: &str = "guest/quickjs";
const ENGINE: &str = "guest/quickjs/engine.wasm";
/// The hashes of its source and of itself.
const RECORD: &str = "guest/quickjs/engine.wasm.source";
/// What it is built from.
const SOURCES: &[&str] = &["Cargo.lock", "engine.c", "prelude.js"];
/// The crate with the source of QuickJS, and its files.
const CRATE: &str = "rquickjs-sys";
const C_FILES: &[&str] = &["quickjs.c", "libregexp.c", "libunicode.c", "dtoa.c"];
/// The program of PyPI's package ziglang, and zig's own.
const COMPILERS: &[&str] = &["python-zig", "zig"];

/// Compiles the engine.
pub(crate) fn build() -> anyhow::Result<()> {
    let root = workspace::root();
    let source = source_of_quickjs()?;
    let mut zig = Command::new(compiler()?);
    zig.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-std=gnu23", "-Os", "-w"]);
    zig.args(["-D_GNU_SOURCE", "-DNDEBUG", "-Wl,--strip-all", "-Wl,-z,stack-size=1048576"]);
    zig.args(["-Wl,--export=fl_program", "-o", ENGINE, "guest/quickjs/engine.c", "-I"]).arg(&source);
    workspace::run(zig.args(C_FILES.iter().map(|file| source.join(file))))?;
    // Not executable.
    let engine = fs::read(root.join(ENGINE)).context(ENGINE)?;
    fs::remove_file(root.join(ENGINE))?;
    fs::write(root.join(ENGINE), engine)?;
    fs::write(root.join(RECORD), record()?)?;
    Ok(())
}

/// Fails unless the committed engine is what its present source was built to.
pub(crate) fn check() -> anyhow::Result<()> {
    let recorded = fs::read_to_string(workspace::root().join(RECORD)).context(RECORD)?;
    let present = record()?;
    ensure!(
        recorded == present,
        "{ENGINE} was not built from its present source: run cargo xtask quickjs\n\
         recorded:\n{recorded}present:\n{present}"
    );
    Ok(())
}

fn record() -> anyhow::Result<String> {
    let root = workspace::root();
    let mut source = Sha256::new();
    for name in SOURCES {
        let content = fs::read(root.join(FOLDER).join(name)).with_context(|| (*name).to_owned())?;
        source.update(format!("{name}\n{}\n", content.len()));
        source.update(content);
    }
    let wasm = Sha256::digest(fs::read(root.join(ENGINE)).context(ENGINE)?);
    Ok(format!("source {}\nwasm {}\n", hex::encode(source.finalize()), hex::encode(wasm)))
}

/// The folder with the C files, which cargo downloads.
fn source_of_quickjs() -> anyhow::Result<PathBuf> {
    let mut cargo = workspace::cargo();
    cargo.args(["metadata", "--locked", "--format-version=1", "--manifest-path", "guest/quickjs/Cargo.toml"]);
    let output = cargo.current_dir(workspace::root()).output().context("cannot run cargo metadata")?;
    ensure!(output.status.success(), "cargo metadata: {}", String::from_utf8_lossy(&output.stderr));
    let metadata: Value = serde_json::from_slice(&output.stdout).context("cargo metadata")?;
    let mut packages = metadata["packages"].as_array().into_iter().flatten();
    let package = packages.find(|package| package["name"] == CRATE).context(CRATE)?;
    let manifest = PathBuf::from(package["manifest_path"].as_str().context("a path")?);
    Ok(manifest.with_file_name("quickjs"))
}

fn compiler() -> anyhow::Result<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain([workspace::root().join("target/tools/python/bin")]);
    let candidates = folders.flat_map(|folder| COMPILERS.iter().map(move |name| folder.join(name)));
    let found = candidates.into_iter().find(|path| path.is_file());
    found.context("zig is missing. Get it with:\n  pip install ziglang==0.17.1")
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_engine_was_built_from_its_source() {
        super::check().unwrap_or_else(|error| panic!("{error:#}"));
    }
}
