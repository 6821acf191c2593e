//! `fl completions` and `fl man`: what shells and `man` know of this program.

use std::fs;
use std::io::Write as _;
use std::path::Path;

use anyhow::Context as _;
use clap::CommandFactory as _;
use clap_complete::Shell;

use crate::args::Arguments;
use crate::pipe;

/// Prints the completions for a shell.
pub fn complete(shell: Shell) -> anyhow::Result<()> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "fl", &mut script);
    match std::io::stdout().write_all(&script).map_err(anyhow::Error::from) {
        Err(error) if pipe::is_closed(&error) => Ok(()),
        written => written,
    }
}

/// Writes a page for each command into the folder.
pub fn write_pages(folder: &Path) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    clap_mangen::generate_to(Arguments::command(), folder)
        .with_context(|| format!("cannot write the pages to {}", folder.display()))
}
