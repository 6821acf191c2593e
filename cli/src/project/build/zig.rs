//! C and Zig, with the zig compiler.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use tokio::process::Command;

use super::super::program;
use super::{missing, output, source};

/// The version that the templates were written for.
const VERSION: &str = "0.17.1";

/// The memory for the stack. The default, 16 MiB, would be a part of every instance.
const STACK_BYTES: &str = "1048576";
const STACK_FLAG: &str = "-Wl,-z,stack-size=1048576";

/// Compiles the C files in the folder and in `src`, with the C library of WASI.
pub(super) async fn build_c(folder: &Path, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
    let sources = c_files(folder)?;
    let file = output(folder)?;
    let mut command = zig(folder)?;
    command.args(["cc", "-target", "wasm32-wasi", "-mexec-model=reactor", "-Oz", "-DNDEBUG", "-Wall"]);
    // The names of functions stay, for the logs of traps.
    command.args(["-Wl,--strip-debug", STACK_FLAG, "-o"]).arg(&file).args(sources);
    program::run(command.current_dir(folder), bar).await?;
    Ok(file)
}

/// Compiles `src/main.zig`, or what `build.zig` says.
pub(super) async fn build_zig(folder: &Path, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
    if folder.join("build.zig").is_file() {
        bail!("{} has a build.zig: say in function.toml, under [build], how to run it", folder.display());
    }
    source(folder, &["src/main.zig"])?;
    let file = output(folder)?;
    let mut command = zig(folder)?;
    command.args(["build-exe", "src/main.zig", "-target", "wasm32-freestanding", "-fno-entry", "-rdynamic"]);
    command.args(["-O", "ReleaseSmall", "--stack", STACK_BYTES]);
    let mut emit = std::ffi::OsString::from("-femit-bin=");
    emit.push(&file);
    program::run(command.arg(emit).current_dir(folder), bar).await?;
    Ok(file)
}

/// The compiler: a program of its own, or PyPI's package.
fn zig(folder: &Path) -> anyhow::Result<Command> {
    let found = program::find(&["zig", "python-zig"], &program::python_folders(folder));
    let Some(zig) = found else {
        let how_to_get = format!(
            "pip install ziglang=={VERSION}\npython3 -m venv .venv && .venv/bin/pip install ziglang=={VERSION}   (in {})",
            folder.display()
        );
        return Err(missing("zig, which compiles C and Zig,", &how_to_get));
    };
    Ok(Command::new(zig))
}

/// The C files, relative to the folder, in order.
fn c_files(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for below in ["", "src"] {
        let Ok(entries) = folder.join(below).read_dir() else { continue };
        for entry in entries {
            let name = PathBuf::from(below).join(entry.context("cannot read the folder")?.file_name());
            if name.extension().is_some_and(|extension| extension == "c") {
                files.push(name);
            }
        }
    }
    if files.is_empty() {
        bail!("necessary file src/*.c not found in path {}", folder.display());
    }
    files.sort();
    Ok(files)
}
