//! The functions in `guest/`: compiling them, and the one whose result is committed.

mod toolchain;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, ensure};
use sha2::{Digest as _, Sha256};

use self::toolchain::Toolchain;
use crate::workspace;

const TARGET: &str = "wasm32-unknown-unknown";
/// Below the root: where the compiled functions go.
const OUT: &str = "target/guests";
/// The committed function, and the hashes of its source and of itself.
const HELLO: &str = "guest/hello.wasm";
const RECORD: &str = "guest/hello.wasm.source";
/// What `hello` is built from.
const HELLO_SOURCES: &[&str] = &[
    "guest/Cargo.toml",
    "guest/Cargo.lock",
    "guest/hello",
    "guest/sdk/Cargo.toml",
    "guest/sdk/src",
    "guest/sdk/macros",
];

/// Compiles the functions, unless nothing has changed since the last time.
pub(crate) fn build() -> anyhow::Result<()> {
    let out = workspace::root().join(OUT);
    let up_to_date = out.join("source");
    let source = hash_of(&["guest"])?;
    if fs::read_to_string(&up_to_date).is_ok_and(|last| last == source) {
        println!("{OUT} is up to date");
        return Ok(());
    }
    let _ = fs::remove_file(&up_to_date);
    let build = out.join("build");
    let mut command = Toolchain::find_or_install()?.cargo();
    command.args([
        "build",
        "--release",
        "--locked",
        "--target",
        TARGET,
        "--manifest-path",
        "guest/Cargo.toml",
    ]);
    workspace::run(command.arg("--target-dir").arg(&build))?;
    for wasm in files_in(&build.join(TARGET).join("release"))?.iter().filter(|path| is_wasm(path)) {
        let name = wasm.file_name().unwrap_or_default().to_string_lossy().replace('_', "-");
        let bytes = fs::copy(wasm, out.join(&name))?;
        println!("{OUT}/{name}: {bytes} bytes");
    }
    fs::write(up_to_date, source)?;
    Ok(())
}

/// Compiles the functions, and commits the result of `hello`.
pub(crate) fn update_hello() -> anyhow::Result<()> {
    build()?;
    let root = workspace::root();
    // Not a copy, which would be executable.
    fs::write(root.join(HELLO), fs::read(root.join(OUT).join("hello.wasm"))?)?;
    fs::write(root.join(RECORD), hello_record()?)?;
    Ok(())
}

/// Fails unless the committed function is what its present source was built to.
pub(crate) fn check_hello() -> anyhow::Result<()> {
    let recorded = fs::read_to_string(workspace::root().join(RECORD)).context(RECORD)?;
    let present = hello_record()?;
    ensure!(
        recorded == present,
        "{HELLO} was not built from its present source: run cargo xtask guests --update-hello\n\
         recorded:\n{recorded}present:\n{present}"
    );
    Ok(())
}

fn hello_record() -> anyhow::Result<String> {
    let wasm = fs::read(workspace::root().join(HELLO)).context(HELLO)?;
    Ok(format!("source {}\nwasm {}\n", hash_of(HELLO_SOURCES)?, hex::encode(Sha256::digest(wasm))))
}

/// One hash over the names and contents of what is compiled in these files and folders.
fn hash_of(paths: &[&str]) -> anyhow::Result<String> {
    let root = workspace::root();
    let mut files = Vec::new();
    for path in paths {
        let path = root.join(path);
        files.extend(if path.is_dir() { files_below(&path)? } else { vec![path] });
    }
    files.retain(|path| is_compiled(path));
    files.sort();
    let mut hash = Sha256::new();
    for file in files {
        let name = file.strip_prefix(&root).unwrap_or(&file).to_string_lossy().into_owned();
        let content = fs::read(&file).with_context(|| name.clone())?;
        hash.update(format!("{name}\n{}\n", content.len()));
        hash.update(content);
    }
    Ok(hex::encode(hash.finalize()))
}

fn is_compiled(path: &Path) -> bool {
    path.extension().is_some_and(|extension| matches!(extension.to_str(), Some("rs" | "toml" | "lock")))
}

fn is_wasm(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "wasm")
}

fn files_below(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    // Not what cargo has built.
    for path in files_in(folder)?.into_iter().filter(|path| !path.ends_with("target")) {
        if path.is_dir() {
            files.extend(files_below(&path)?);
        } else {
            files.push(path);
        }
    }
    Ok(files)
}

fn files_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    entries.map(|entry| Ok(entry?.path())).collect()
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_committed_hello_was_built_from_its_source() {
        super::check_hello().unwrap_or_else(|error| panic!("{error:#}"));
    }
}
