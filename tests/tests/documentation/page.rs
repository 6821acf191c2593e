//! A page of the documentation, and its blocks.
//!
//! A comment directly above a block annotates it for the tests:
//!
//! - `<!-- not run: REASON -->`: the block cannot run in a test
//! - `<!-- before: COMMANDS -->`: run these commands first
//! - `<!-- file: PATH -->`: the block is the content of this file
//!
//! A block of TOML or YAML whose first line is `# NAME.toml` or `# NAME.yml`, optionally followed by a colon
//! and more words, is the content of the file with that name.

use std::path::Path;

use tests::process::repository;

/// A fenced block.
#[derive(Debug, Default)]
pub struct Block {
    /// The line number of the opening fence.
    pub line: usize,
    /// The language after the fence: `sh`, `toml`, ...
    pub language: String,
    /// The content.
    pub text: String,
    /// Why the block is not run.
    pub not_run: Option<String>,
    /// Commands to run before the block.
    pub before: Option<String>,
    /// The file to write the content to.
    pub file: Option<String>,
}

impl Block {
    /// Whether the block contains shell commands.
    pub fn is_commands(&self) -> bool {
        self.language == "sh"
    }
}

/// The paths of all pages, relative to the root of the repository.
pub fn all() -> Vec<String> {
    let mut found = Vec::new();
    for folder in ["", "docs", "docs/decisions", "guest", "deploy", "proto", "bench"] {
        let Ok(entries) = std::fs::read_dir(repository().join(folder)) else { continue };
        let names = entries.flatten().map(|entry| Path::new(folder).join(entry.file_name()));
        let pages = names.filter(|path| path.extension().is_some_and(|extension| extension == "md"));
        found.extend(pages.map(|path| path.to_string_lossy().into_owned()));
    }
    found.sort();
    found
}

/// The blocks of the page at this path.
pub fn read(path: &str) -> Vec<Block> {
    let text =
        std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"));
    blocks(path, &text)
}

fn blocks(path: &str, text: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut next = Block::default();
    let mut lines = text.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(language) = line.strip_prefix("```") else {
            if let Some((key, value)) = directive(line) {
                match key {
                    "not run" => next.not_run = Some(value.to_owned()),
                    "before" => next.before = Some(value.to_owned()),
                    "file" => next.file = Some(value.to_owned()),
                    _ => panic!("{path}:{}: unknown comment {key:?}", number + 1),
                }
            } else if !line.trim().is_empty() {
                next = Block::default();
            }
            continue;
        };
        let mut block = std::mem::take(&mut next);
        (block.line, block.language) = (number + 1, language.trim().to_owned());
        block.text = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .collect::<Vec<_>>()
            .join("\n");
        if block.file.is_none() {
            block.file = named_in_first_line(&block);
        }
        let commands = ["fl ", "cargo ", "curl ", "sudo ", "scripts/test", "scripts/chaos"];
        let has_commands =
            block.text.lines().any(|line| commands.iter().any(|command| line.starts_with(command)));
        assert!(
            block.is_commands() || !has_commands,
            "{path}:{}: a block of commands must be ```sh",
            block.line
        );
        blocks.push(block);
    }
    blocks
}

fn directive(line: &str) -> Option<(&str, &str)> {
    line.strip_prefix("<!-- ")?.strip_suffix(" -->")?.split_once(": ")
}

fn named_in_first_line(block: &Block) -> Option<String> {
    let is_file = matches!(block.language.as_str(), "toml" | "yaml");
    let first = block.text.lines().next()?.strip_prefix("# ")?;
    let name = first.split_once(':').map_or(first, |(name, _)| name);
    let is_name =
        [".toml", ".yml", ".yaml"].iter().any(|ending| name.ends_with(ending)) && !name.contains(' ');
    (is_file && is_name).then(|| name.to_owned())
}
