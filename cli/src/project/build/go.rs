//! Go, with TinyGo or Go's own compiler.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use tokio::process::Command;

use super::super::program;
use super::{missing, output, source};

pub(super) async fn build(folder: &Path, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
    source(folder, &["go.mod"])?;
    let mut command = if let Some(tinygo) = program::find(&["tinygo"], &[]) {
        let mut command = Command::new(tinygo);
        command.args(["build", "-target=wasip1", "-buildmode=c-shared", "-no-debug"]);
        command
    } else if let Some(go) = program::find(&["go"], &[PathBuf::from("/usr/local/go/bin")]) {
        let mut command = Command::new(go);
        command.args(["build", "-buildmode=c-shared", "-ldflags=-s -w"]);
        command.env("GOOS", "wasip1").env("GOARCH", "wasm");
        command
    } else {
        let how_to_get = "https://tinygo.org/getting-started   (TinyGo: small binaries)\n\
                          https://go.dev/dl   (Go 1.24 or newer)";
        return Err(missing("TinyGo or Go", how_to_get));
    };
    let file = output(folder)?;
    program::run(command.arg("-o").arg(&file).arg(".").current_dir(folder), bar).await?;
    Ok(file)
}
