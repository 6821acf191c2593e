//! `fl apply`.

use std::path::PathBuf;

use clap::Args;

use super::output::Quiet;

/// Options of `fl apply`.
#[derive(Debug, Args)]
pub struct Apply {
    /// Folder with files function.toml and mesh.toml, at any depth, or one such file. Repeatable.
    #[arg(long = "file", short, value_name = "DIR|FILE", required = true)]
    pub files: Vec<PathBuf>,
    /// Show what would change, and change nothing. Functions are built all the same.
    #[arg(long)]
    pub diff: bool,
    /// Delete what an earlier `fl apply` of the folder has created and its files no longer name.
    #[arg(long)]
    pub prune: bool,
    /// Return before the workers have prepared the code.
    #[arg(long, conflicts_with = "diff")]
    pub no_wait: bool,
    #[command(flatten)]
    pub quiet: Quiet,
}
