//! `fl completions` and `fl man`: what shells and `man` know of this program.

mod markdown;

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
    let script = completions(shell);
    match std::io::stdout().write_all(&script).map_err(anyhow::Error::from) {
        Err(error) if pipe::is_closed(&error) => Ok(()),
        written => written,
    }
}

/// Writes a page for each command into the folder, or one page of Markdown.
pub fn write_pages(folder: &Path, as_markdown: bool) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let written = if as_markdown {
        fs::write(folder.join("fl.md"), markdown::page(Arguments::command()))
    } else {
        clap_mangen::generate_to(Arguments::command(), folder)
    };
    written.with_context(|| format!("cannot write the pages to {}", folder.display()))
}

fn completions(shell: Shell) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "fl", &mut script);
    script
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Changed on purpose? `INSTA_UPDATE=always cargo test -p cli` writes the snapshots anew.
    #[test]
    fn shells_complete_every_command() {
        // The script for fish has a line for each option; the others are made from the same commands.
        let script = |shell| String::from_utf8(completions(shell)).expect("UTF-8");
        insta::assert_snapshot!("completions_fish", script(Shell::Fish));
        for shell in [Shell::Bash, Shell::Elvish, Shell::PowerShell, Shell::Zsh] {
            let script = script(shell);
            for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
                assert!(script.contains(command.get_name()), "{shell}: {}", command.get_name());
            }
        }
    }

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        write_pages(folder.path(), false).expect("written");
        let pages =
            fs::read_dir(folder.path()).expect("a folder").map(|entry| entry.expect("an entry").path());
        let mut pages: Vec<_> = pages.collect();
        pages.sort();
        let version = env!("CARGO_PKG_VERSION");
        let page = |path: std::path::PathBuf| {
            let text = fs::read_to_string(&path).expect("text").replace(version, "VERSION");
            format!("=== {}\n{text}", path.file_name().unwrap_or_default().display())
        };
        insta::assert_snapshot!("pages", pages.into_iter().map(page).collect::<String>());
    }
}
