//! Python, with componentize-py from PyPI: a component.

use std::path::{Path, PathBuf};

use indicatif::ProgressBar;
use tokio::process::Command;

use super::super::program;
use super::{missing, output, source};

/// The version that the template was written for.
const VERSION: &str = "0.25.1";

pub(super) async fn build(folder: &Path, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
    source(folder, &["app.py"])?;
    source(folder, &["wit/world.wit"])?;
    let Some(componentize) = program::find(&["componentize-py"], &program::python_folders(folder)) else {
        let how_to_get = format!(
            "python3 -m venv .venv && .venv/bin/pip install componentize-py=={VERSION}   (in {})",
            folder.display()
        );
        return Err(missing("componentize-py", &how_to_get));
    };
    let file = output(folder)?;
    let mut command = Command::new(componentize);
    command.args(["--quiet", "--wit-path", "wit", "--world", "function", "componentize", "app"]);
    command.arg("--output").arg(&file);
    let packages = folder.join("packages");
    if packages.is_dir() {
        command.args(["--python-path", ".", "--python-path", "packages"]);
    }
    program::run(command.current_dir(folder), bar).await?;
    Ok(file)
}
