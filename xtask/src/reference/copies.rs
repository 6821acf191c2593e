//! Blocks of pages that are copies of files: those below `<!-- copy of: PATH -->`.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use crate::workspace;

const BOOK: &str = "docs";
const FENCE: &str = "```";

/// The pages with copies: paths from the root of the repository, and contents with the present files.
pub(super) fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let root = workspace::root();
    let read =
        |path: &str| fs::read_to_string(root.join(path)).with_context(|| format!("cannot read {path}"));
    let mut pages = Vec::new();
    for path in markdown_in(&root.join(BOOK))? {
        let path = path.strip_prefix(&root)?.to_string_lossy().into_owned();
        let text = read(&path)?;
        if text.lines().any(|line| original(line).is_some()) {
            pages.push((path.clone(), with_copies(&text, read).context(path)?));
        }
    }
    Ok(pages)
}

fn markdown_in(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            found.extend(markdown_in(&path)?);
        } else if path.extension().is_some_and(|extension| extension == "md") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

fn original(line: &str) -> Option<&str> {
    line.strip_prefix("<!-- copy of: ")?.strip_suffix(" -->")
}

fn with_copies(text: &str, read: impl Fn(&str) -> anyhow::Result<String>) -> anyhow::Result<String> {
    let mut copied = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        copied.push_str(line);
        copied.push('\n');
        let Some(path) = original(line) else { continue };
        let Some(fence) = lines.next().filter(|line| line.starts_with(FENCE)) else {
            bail!("expected a block below the comment with {path}");
        };
        if !lines.any(|line| line == FENCE) {
            bail!("the block with {path} does not end");
        }
        copied.push_str(&format!("{fence}\n{}\n{FENCE}\n", read(path)?.trim_end()));
    }
    Ok(copied)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_replaced() {
        let read = |path: &str| Ok(format!("the content of {path}\n"));
        let page = "a\n<!-- copy of: x.c -->\n```c\nold\nlines\n```\nb\n";
        let expected = "a\n<!-- copy of: x.c -->\n```c\nthe content of x.c\n```\nb\n";
        assert_eq!(with_copies(page, read).expect("a page"), expected);
        assert_eq!(with_copies(expected, read).expect("a page"), expected);
        for broken in ["<!-- copy of: x.c -->\n", "<!-- copy of: x.c -->\n```c\n"] {
            assert!(with_copies(broken, read).is_err(), "{broken}");
        }
    }
}
