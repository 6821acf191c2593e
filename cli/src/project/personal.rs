//! Gives a function that was made from a template its name.

use std::fs;
use std::ops::Range;
use std::path::Path;

use anyhow::Context as _;
use serde::Deserialize;
use toml::Spanned;

use super::manifest::Manifest;

/// The name of the functions in our templates.
const TEMPLATE_NAME: &str = "hello";

#[derive(Deserialize)]
struct FunctionToml {
    name: Spanned<String>,
}

#[derive(Deserialize)]
struct CargoToml {
    package: Option<Package>,
}

#[derive(Deserialize)]
struct Package {
    name: Spanned<String>,
}

/// Writes the name into `function.toml`, `Cargo.toml` and `README.md`, as far as they are there.
pub(super) fn rename(folder: &Path, name: &str) -> anyhow::Result<()> {
    edit(&folder.join(Manifest::FILE), |text| {
        let FunctionToml { name: former } = toml::from_str(text)?;
        Ok(with_value(text, former.span(), name))
    })?;
    edit(&folder.join("Cargo.toml"), |text| {
        let manifest: CargoToml = toml::from_str(text)?;
        Ok(match manifest.package {
            // Neither a keyword nor the name of a dependency.
            Some(Package { name: former }) if !name.starts_with(|c: char| c.is_ascii_digit()) => {
                with_value(text, former.span(), &format!("{name}-function"))
            }
            _ => text.to_owned(),
        })
    })?;
    edit(&folder.join("README.md"), |text| Ok(with_name(text, name)))
}

/// The text with another string in this place.
fn with_value(text: &str, place: Range<usize>, value: &str) -> String {
    format!("{}\"{value}\"{}", &text[..place.start], &text[place.end..])
}

fn edit(file: &Path, change: impl FnOnce(&str) -> anyhow::Result<String>) -> anyhow::Result<()> {
    if !file.is_file() {
        return Ok(());
    }
    let text = fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
    let changed = change(&text).with_context(|| file.display().to_string())?;
    fs::write(file, changed).with_context(|| format!("cannot write {}", file.display()))
}

/// The text with the name of the function instead of that of the template.
fn with_name(text: &str, name: &str) -> String {
    let mut changed = String::with_capacity(text.len());
    let is_word = |c: char| c == '_' || c.is_alphanumeric();
    let mut rest = text;
    while let Some(at) = rest.find(TEMPLATE_NAME) {
        let (before, after) = (&rest[..at], &rest[at + TEMPLATE_NAME.len()..]);
        changed.push_str(before);
        let is_whole = !before.ends_with(is_word) && !after.starts_with(is_word);
        changed.push_str(if is_whole { name } else { TEMPLATE_NAME });
        rest = after;
    }
    changed + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_are_replaced() {
        let text = "# hello\n`fl fn invoke hello`: hello_world, Hello, othello\n";
        assert_eq!(with_name(text, "f"), "# f\n`fl fn invoke f`: hello_world, Hello, othello\n");
    }

    #[test]
    fn the_names_change_and_the_rest_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).expect("written");
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).expect("text");
        write("function.toml", "# A function.\nname = \"hello\" # its name\n");
        write("Cargo.toml", "[package]\nname = \"hello\"\nversion = \"1.0.0\"\n");
        rename(folder.path(), "serde").expect("renamed");
        assert_eq!(read("function.toml"), "# A function.\nname = \"serde\" # its name\n");
        assert_eq!(read("Cargo.toml"), "[package]\nname = \"serde-function\"\nversion = \"1.0.0\"\n");
        rename(folder.path(), "1st").expect("renamed");
        assert!(
            read("Cargo.toml").contains("\"serde-function\""),
            "names of packages have no digit in front"
        );
    }
}
