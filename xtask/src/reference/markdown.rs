//! Markdown: what both GitHub and mdBook show in the same way.

use std::fmt::Write as _;

/// A page that is written from top to bottom.
#[derive(Debug, Default)]
pub(super) struct Page {
    text: String,
}

impl Page {
    /// A page with this title, which says from what it was written.
    pub(super) fn new(title: &str, source: &str) -> Self {
        let mut page = Self::default();
        page.push(&format!("# {title}"));
        page.push(&format!("<!-- Written by `cargo xtask reference` from {source}. -->"));
        page
    }

    /// Adds a block, such as a paragraph.
    pub(super) fn push(&mut self, block: &str) {
        let block = block.trim_end();
        if !block.is_empty() {
            let _ = writeln!(self.text, "{}{block}", if self.text.is_empty() { "" } else { "\n" });
        }
    }

    /// Adds a heading of this level.
    pub(super) fn heading(&mut self, level: usize, text: &str) {
        self.push(&format!("{} {text}", "#".repeat(level)));
    }

    /// Adds a fenced block.
    pub(super) fn code(&mut self, language: &str, text: &str) {
        self.push(&format!("```{language}\n{}\n```", text.trim_end()));
    }

    /// Adds a table, unless it has no rows. Cells are Markdown.
    pub(super) fn table<const N: usize>(&mut self, header: [&str; N], rows: &[[String; N]]) {
        if rows.is_empty() {
            return;
        }
        let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
        let mut text = line(&header.map(str::to_owned));
        text.push_str(&format!("|{}\n", "---|".repeat(N)));
        for row in rows {
            text.push_str(&line(&row.each_ref().map(|cell| cell_of(cell))));
        }
        self.push(&text);
    }

    /// The text.
    pub(super) fn into_text(self) -> String {
        self.text
    }
}

/// Code in a line of text.
pub(super) fn code(text: &str) -> String {
    if text.contains('`') { format!("`` {text} ``") } else { format!("`{text}`") }
}

/// A link to a heading on the same page, with the heading as its text.
pub(super) fn link(heading: &str) -> String {
    format!("[{}](#{})", code(heading), anchor(heading))
}

/// The anchor of a heading, as GitHub and mdBook make it.
pub(super) fn anchor(heading: &str) -> String {
    let kept = heading.chars().filter(|c| c.is_alphanumeric() || matches!(c, '_' | '-' | ' '));
    kept.map(|c| if c == ' ' { '-' } else { c.to_ascii_lowercase() }).collect()
}

/// Text on one line, in which `<` and `*` outside of code stand for themselves.
pub(super) fn line(text: &str) -> String {
    let words: Vec<_> = text.split_whitespace().collect();
    let mut escaped = String::new();
    let mut in_code = false;
    for character in words.join(" ").chars() {
        in_code ^= character == '`';
        match character {
            '<' if !in_code => escaped.push_str("&lt;"),
            '*' if !in_code => escaped.push_str("\\*"),
            other => escaped.push(other),
        }
    }
    escaped
}

/// The content of a cell, in which a bar does not end it.
fn cell_of(text: &str) -> String {
    text.trim().replace('\n', " ").replace('|', "\\|")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_stands_for_itself() {
        let cases = [
            ("a\n  b", "a b"),
            ("<x> and `<x>`", "&lt;x> and `<x>`"),
            ("`*`: all, 2 * 3", "`*`: all, 2 \\* 3"),
        ];
        for (text, expected) in cases {
            assert_eq!(line(text), expected);
        }
    }

    #[test]
    fn anchors_are_those_of_github() {
        for (heading, expected) in [
            ("POST /v1/fn/{module}", "post-v1fnmodule"),
            ("funless.registry.v1.Modules", "funlessregistryv1modules"),
            ("Data_Conservation", "data_conservation"),
            ("fl fn up-load", "fl-fn-up-load"),
        ] {
            assert_eq!(anchor(heading), expected);
        }
    }

    #[test]
    fn tables_have_their_bars() {
        let mut page = Page::default();
        page.table(["a", "b"], &[["x|y".into(), "1\n2".into()]]);
        page.table(["none"], &[]);
        assert_eq!(page.into_text(), "| a | b |\n|---|---|\n| x\\|y | 1 2 |\n");
    }
}
