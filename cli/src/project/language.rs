//! The languages that functions are written in.

use std::fmt;
use std::path::Path;

use anyhow::bail;
use clap::ValueEnum;
use serde::Deserialize;

/// A language that `fl` knows how to build.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    Rust,
    #[value(name = "js", alias = "javascript")]
    #[serde(rename = "js", alias = "javascript")]
    JavaScript,
    #[value(name = "ts", alias = "typescript")]
    #[serde(rename = "ts", alias = "typescript")]
    TypeScript,
    #[value(name = "assemblyscript", alias = "as")]
    #[serde(alias = "as")]
    AssemblyScript,
    #[value(alias = "py")]
    #[serde(alias = "py")]
    Python,
    C,
    Zig,
    Go,
}

impl Language {
    /// The one that the files in a folder tell.
    pub fn detect(folder: &Path) -> anyhow::Result<Self> {
        let signs = [
            ("Cargo.toml", Self::Rust),
            ("assembly/main.ts", Self::AssemblyScript),
            ("assembly/index.ts", Self::AssemblyScript),
            ("src/index.ts", Self::TypeScript),
            ("index.ts", Self::TypeScript),
            ("src/index.js", Self::JavaScript),
            ("index.js", Self::JavaScript),
            ("app.py", Self::Python),
            ("src/main.zig", Self::Zig),
            ("src/main.c", Self::C),
            ("main.c", Self::C),
            ("go.mod", Self::Go),
        ];
        if let Some((_, language)) = signs.iter().find(|(file, _)| folder.join(file).is_file()) {
            return Ok(*language);
        }
        let files: Vec<_> = signs.iter().map(|(file, _)| *file).collect();
        bail!(
            "{} has no source of a function: expected function.toml with a language, or one of {}",
            folder.display(),
            files.join(", ")
        )
    }

    /// Its name for people.
    pub fn title(self) -> &'static str {
        match self {
            Self::Rust => "Rust",
            Self::JavaScript => "JavaScript",
            Self::TypeScript => "TypeScript",
            Self::AssemblyScript => "AssemblyScript",
            Self::Python => "Python",
            Self::C => "C",
            Self::Zig => "Zig",
            Self::Go => "Go",
        }
    }
}

/// As on the command line and in `function.toml`.
impl fmt::Display for Language {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Rust => "rust",
            Self::JavaScript => "js",
            Self::TypeScript => "ts",
            Self::AssemblyScript => "assemblyscript",
            Self::Python => "python",
            Self::C => "c",
            Self::Zig => "zig",
            Self::Go => "go",
        })
    }
}

#[cfg(test)]
mod tests {
    use serde::de::IntoDeserializer as _;
    use serde::de::value::{Error, StrDeserializer};

    use super::*;

    #[test]
    fn the_command_line_and_manifests_have_the_same_names() {
        for language in Language::value_variants() {
            let value = language.to_possible_value().expect("no language is hidden");
            assert_eq!(value.get_name(), language.to_string());
            for name in value.get_name_and_aliases() {
                let name: StrDeserializer<'_, Error> = name.into_deserializer();
                assert_eq!(Language::deserialize(name), Ok(*language));
            }
        }
    }
}
