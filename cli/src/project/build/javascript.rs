//! JavaScript and TypeScript: the source becomes a part of a module with the engine, QuickJS.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use tokio::process::Command;

use super::super::program;
use super::super::quickjs;
use super::{missing, npm, output, source};

/// Builds a function whose sources have this extension. What consists of one file of JavaScript is taken as it is; esbuild
/// bundles the rest.
pub(super) async fn build(folder: &Path, extension: &str, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
    let main = npm::Package::read(folder)?.main;
    let entries = [format!("src/index.{extension}"), format!("index.{extension}")];
    let candidates: Vec<_> = main.iter().chain(&entries).map(String::as_str).collect();
    let entry = source(folder, &candidates)?;
    let text = std::fs::read_to_string(&entry).with_context(|| format!("cannot read {}", entry.display()))?;
    let is_whole = extension == "js" && !uses_others(&text);
    let program = if is_whole { text } else { bundle(folder, &entry, bar).await? };
    if program.trim().is_empty() {
        bail!("{} is empty", entry.display());
    }
    let file = output(folder)?;
    std::fs::write(&file, quickjs::module_with(&program)?)
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

/// Makes one module of a source and what it imports, without types.
async fn bundle(folder: &Path, entry: &Path, bar: &ProgressBar) -> anyhow::Result<String> {
    npm::install(folder, "esbuild", bar).await?;
    let Some(esbuild) = npm::find("esbuild", folder) else {
        let why = "esbuild, which makes one file of several and of TypeScript,";
        return Err(missing(why, "npm install --save-dev esbuild"));
    };
    let entry = std::path::absolute(entry).context("the source")?;
    let mut command = Command::new(esbuild);
    command.arg(entry).args([
        "--bundle",
        "--format=esm",
        "--platform=neutral",
        "--main-fields=module,main",
        "--target=es2023",
        "--log-level=warning",
    ]);
    program::run(command.current_dir(folder), bar).await
}

/// Whether a source seems to use other files, or to be no ECMAScript module.
fn uses_others(source: &str) -> bool {
    source.lines().map(str::trim_start).filter(|line| !line.starts_with("//")).any(|line| {
        let is_statement = line.starts_with("import ") || line.starts_with("import{");
        let is_reexport = line.starts_with("export ") && line.contains(" from ");
        let is_common_js = line.contains("require(") || line.contains("exports.");
        is_statement || is_reexport || is_common_js
    })
}

#[cfg(test)]
mod tests {
    #[test]
    fn sources_that_need_a_bundler_are_recognised() {
        for (source, expected) in [
            ("export default (args) => args;", false),
            ("// see require(x)\nexport default () => 1;", false),
            ("import { a } from './a.js';", true),
            ("export { a } from './a.js';", true),
            ("const _ = require('lodash');", true),
            ("module.exports.fl_main = fl_main;", true),
        ] {
            assert_eq!(super::uses_others(source), expected, "{source}");
        }
    }
}
