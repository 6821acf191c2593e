//! What commands print. Results go to the standard output, in the format that was asked for; what is said about them goes
//! to the standard error.
//!
//! Colours are for terminals: `anstream` removes them elsewhere, and wherever `NO_COLOR` is set.

use std::io::Write as _;

use anstyle::{AnsiColor, Style};
use anyhow::Context as _;
use serde_json::Value;

use crate::args::{Format, Listing, Output, Quiet};
use crate::client::data;
use crate::pipe;

/// Of headings.
pub const HEADING: Style = Style::new().bold();
/// Of what is as it should be.
pub const GOOD: Style = AnsiColor::Green.on_default();
/// Of what may mend itself, and of what changes.
pub const WARNING: Style = AnsiColor::Yellow.on_default().bold();
/// Of what is wrong.
pub const BAD: Style = AnsiColor::Red.on_default().bold();

/// Text in a style.
pub fn styled(style: Style, text: &str) -> String {
    format!("{style}{text}{style:#}")
}

/// Prints text to the standard output, without its styles where they do not belong. Whoever reads it may stop reading.
pub fn text(text: &str) -> anyhow::Result<()> {
    written(anstream::stdout().lock(), text)
}

/// Prints bytes that somebody else has made as they are.
pub fn raw(text: &str) -> anyhow::Result<()> {
    written(std::io::stdout().lock(), text)
}

fn written(mut out: impl std::io::Write, text: &str) -> anyhow::Result<()> {
    let written = out.write_all(text.as_bytes()).and_then(|()| out.flush());
    match written.map_err(anyhow::Error::from) {
        Err(error) if pipe::is_closed(&error) => Ok(()),
        written => written.context("cannot write to the standard output"),
    }
}

/// Says something that is not a result.
pub fn warn(message: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{} {message}", styled(WARNING, "warning:"));
}

/// Says more about what was said before.
pub fn note(message: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{message}");
}

impl Quiet {
    /// Says that something was done.
    pub fn done(self, message: &str) -> anyhow::Result<()> {
        if self.quiet { Ok(()) } else { text(&format!("{message}\n")) }
    }
}

impl Output {
    /// Prints a response of the REST API: as it came, or as `text` makes it readable.
    pub fn show(self, response: &str, text: impl FnOnce() -> anyhow::Result<String>) -> anyhow::Result<()> {
        match self.format() {
            None | Some(Format::Table) => self::text(&text()?),
            Some(format) => raw(&document(format, response)?),
        }
    }
}

impl Listing {
    /// Prints a list that is a response of the REST API: as it came, only the `names` in its data, or as `text` makes it
    /// readable.
    pub fn show(
        self,
        response: &str,
        names: impl FnOnce(&Value) -> Vec<String>,
        text: impl FnOnce() -> anyhow::Result<String>,
    ) -> anyhow::Result<()> {
        match self.quiet {
            true => self::text(&lines(names(&data(response)?))),
            false => self.output.show(response, text),
        }
    }
}

/// The text that each object of a list has as its member `name`.
pub fn each(name: &str) -> impl Fn(&Value) -> Vec<String> + '_ {
    move |list| {
        let items = list.as_array().into_iter().flatten();
        items.filter_map(|item| item[name].as_str().map(str::to_owned)).collect()
    }
}

/// A line for each.
pub fn lines(lines: impl IntoIterator<Item = String>) -> String {
    // What others wrote must neither break the lines nor steer the terminal.
    lines.into_iter().map(|line| line.replace(char::is_control, " ") + "\n").collect()
}

/// A response as a document of its own.
pub fn document(format: Format, response: &str) -> anyhow::Result<String> {
    match format {
        Format::Table | Format::Json => Ok(format!("{}\n", response.trim_end())),
        Format::Yaml => {
            let value: Value =
                serde_json::from_str(response).context("the answer is not what was expected")?;
            serde_saphyr::to_string(&value).context("the answer cannot be written as YAML")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_response_is_a_document() {
        let response = "{\"data\":[{\"name\":\"yes\",\"size\":1.5,\"none\":null,\"text\":\"a\\nb: #\"}]}";
        assert_eq!(document(Format::Json, response).expect("JSON"), format!("{response}\n"));
        let yaml = document(Format::Yaml, response).expect("YAML");
        let read: Value = serde_saphyr::from_str(&yaml).expect("YAML");
        assert_eq!(read, serde_json::from_str::<Value>(response).expect("JSON"), "{yaml}");
        assert!(document(Format::Yaml, "<html>").is_err());
    }

    #[test]
    fn names_are_lines() {
        assert_eq!(lines(["a".to_owned(), "b\nc\u{1b}[2J".to_owned()]), "a\nb c [2J\n");
        assert_eq!(each("id")(&serde_json::json!([{"id": "7"}, {"id": "8", "name": "n"}])), ["7", "8"]);
    }
}
