//! Plain tables: columns that stand under each other.

use std::fmt;

use anstyle::Style;

use crate::output::{BAD, GOOD, HEADING, WARNING, styled};

/// Rows of cells, the first one with the headings.
#[derive(Debug)]
pub struct Table {
    rows: Vec<Vec<String>>,
}

impl Table {
    /// A table with these headings.
    pub fn new(headings: &[&str]) -> Self {
        Self { rows: vec![headings.iter().map(|heading| (*heading).to_owned()).collect()] }
    }

    /// Adds a row.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        // What others wrote must neither break the lines nor steer the terminal.
        let plain = |cell: String| cell.replace(char::is_control, " ");
        self.rows.push(cells.into_iter().map(plain).collect());
    }
}

impl fmt::Display for Table {
    /// Nothing when there are only headings. `{:#}` is for terminals, with colours.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rows.len() == 1 {
            return Ok(());
        }
        let mut widths = Vec::new();
        for row in &self.rows {
            widths.resize(widths.len().max(row.len()), 0);
            for (width, cell) in widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for (index, row) in self.rows.iter().enumerate() {
            let padded = row.iter().zip(&widths).map(|(cell, &width)| format!("{cell:width$}"));
            let line = padded.collect::<Vec<_>>().join("  ");
            match (formatter.alternate(), index) {
                (true, 0) => writeln!(formatter, "{}", styled(HEADING, line.trim_end()))?,
                (true, _) => writeln!(formatter, "{}", self.coloured(row, &widths))?,
                (false, _) => writeln!(formatter, "{}", line.trim_end())?,
            }
        }
        Ok(())
    }
}

impl Table {
    fn coloured(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (index, (cell, &width)) in row.iter().zip(widths).enumerate() {
            let is_last = row[index + 1..].iter().all(String::is_empty);
            let heading = self.rows[0].get(index).map_or("", String::as_str);
            match style_of(heading, cell) {
                Some(style) => line.push_str(&styled(style, cell)),
                None => line.push_str(cell),
            }
            if is_last {
                break;
            }
            line.extend(std::iter::repeat_n(' ', width.saturating_sub(cell.chars().count()) + 2));
        }
        line
    }
}

/// The colour of a state.
fn style_of(heading: &str, cell: &str) -> Option<Style> {
    match (heading, cell) {
        ("STATE", "connected" | "ready" | "up") | ("VERDICT", "chosen") => Some(GOOD),
        ("STATE", "unreachable") => Some(BAD),
        ("STATE", _) => Some(WARNING),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_stand_under_each_other() {
        let mut table = Table::new(&["NAME", "STATE", "WHY"]);
        assert_eq!(table.to_string(), "");
        table.row(["hellö".into(), "up".into(), String::new()]);
        table.row(["f".into(), "retrying".into(), "two\nlines \u{1b}[31m".into()]);
        let expected = "\
NAME   STATE     WHY
hellö  up
f      retrying  two lines  [31m
";
        assert_eq!(table.to_string(), expected);
        let coloured = format!("{table:#}");
        assert!(coloured.starts_with("\u{1b}[1mNAME   STATE     WHY\u{1b}[0m\n"), "{coloured:?}");
        assert!(coloured.contains("\nhellö  \u{1b}[32mup\u{1b}[0m\n"), "{coloured:?}");
        assert_eq!(anstream::adapter::strip_str(&coloured).to_string(), expected);
    }
}
