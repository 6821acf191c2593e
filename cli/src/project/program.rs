//! Programs of toolchains: where they are, and running them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;
use rustix::fs::{Access, access};
use tokio::io::{AsyncBufReadExt as _, AsyncRead, BufReader};
use tokio::process::Command;

/// The first of these programs that is in one of the folders, or else in the path.
pub fn find(names: &[&str], folders: &[PathBuf]) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path: Vec<_> = std::env::split_paths(&path).collect();
    let candidates = names
        .iter()
        .flat_map(|name| folders.iter().chain(&in_path).map(move |folder| folder.join(name)))
        .filter(|path| path.is_file() && access(path, Access::EXEC_OK).is_ok());
    // A command runs in the folder of the project.
    candidates.into_iter().find_map(|path| std::path::absolute(path).ok())
}

/// The folders for programs of npm that the project's folder sees, as Node.js has it: the nearest first.
pub fn npm_folders(project: &Path) -> Vec<PathBuf> {
    let project = std::path::absolute(project).unwrap_or_else(|_| project.to_owned());
    project.ancestors().map(|folder| folder.join("node_modules/.bin")).collect()
}

/// The folder for programs of the project's virtual environment of Python.
pub fn python_folders(project: &Path) -> Vec<PathBuf> {
    vec![project.join(".venv/bin")]
}

/// Runs a program, whose last line is shown beside the spinner, and returns its standard output. If it fails, all that
/// it wrote is shown.
pub async fn run(command: &mut Command, bar: &ProgressBar) -> anyhow::Result<String> {
    let name = Path::new(command.as_std().get_program()).file_name().unwrap_or_default();
    let name = name.to_string_lossy().into_owned();
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().with_context(|| format!("cannot run {name}"))?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let (out, err) = tokio::try_join!(lines(stdout, None), lines(stderr, Some(bar)))?;
    let status = child.wait().await.with_context(|| format!("cannot wait for {name}"))?;
    if status.success() {
        return Ok(out);
    }
    bar.suspend(|| {
        // The messages of cargo are for programs.
        for line in out.lines().filter(|line| !line.starts_with('{')).chain(err.lines()) {
            eprintln!("{line}");
        }
    });
    bail!("{name} failed: {status}")
}

/// Reads what a program writes, and shows its last line.
async fn lines(from: Option<impl AsyncRead + Unpin>, bar: Option<&ProgressBar>) -> anyhow::Result<String> {
    let Some(from) = from else { return Ok(String::new()) };
    let mut text = String::new();
    let mut reader = BufReader::new(from);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line).await.context("cannot read what the program writes")? > 0 {
        let read = String::from_utf8_lossy(&line);
        text.push_str(&read);
        if let Some(bar) = bar.filter(|_| !read.trim().is_empty()) {
            bar.set_message(read.trim().to_owned());
        }
        line.clear();
    }
    Ok(text)
}
