//! Templates of functions: those of this program, and folders.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail, ensure};
use clap::ValueEnum as _;
use include_dir::{Dir, include_dir};

use super::files;
use super::language::Language;
use super::personal;
use super::vendor;

/// Below a folder that the user names: where the templates are, as in FunLess.
pub const FOLDER: &str = "template";

static EMBEDDED: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../guest/templates");

/// A template.
#[derive(Debug, PartialEq, Eq)]
pub enum Template {
    /// One of this program, by its name.
    Embedded(String),
    /// A folder.
    Folder(PathBuf),
}

impl Template {
    /// The one of this name. Those below `dir` come first.
    pub fn find(name: &str, dir: &Path) -> anyhow::Result<Self> {
        // A language has several names, its template one.
        let canonical =
            Language::from_str(name, true).map_or_else(|_| name.to_owned(), |found| found.to_string());
        ensure!(
            !name.contains(['/', '\\']) && !name.starts_with('.'),
            "no valid template for \"{name}\" found"
        );
        for name in [name, &canonical] {
            let folder = dir.join(FOLDER).join(name);
            if folder.is_dir() {
                return Ok(Self::Folder(folder));
            }
        }
        let embedded = embedded();
        if embedded.contains(&canonical) {
            return Ok(Self::Embedded(canonical));
        }
        let names = of_folder(dir)?.into_iter().flatten().chain(embedded).collect::<BTreeSet<_>>();
        let names = names.into_iter().collect::<Vec<_>>().join(", ");
        bail!("no valid template for \"{name}\" found; there are {names}")
    }

    /// Makes a function of this name from it, in the folder `to`.
    pub fn create(&self, name: &str, to: &Path) -> anyhow::Result<()> {
        self.write(to)?;
        personal::rename(to, name)
    }

    /// Writes its files.
    pub fn write(&self, to: &Path) -> anyhow::Result<()> {
        match self {
            Self::Folder(folder) => files::copy(folder, to),
            Self::Embedded(name) => {
                let template = EMBEDDED.get_dir(name).with_context(|| format!("no template {name}"))?;
                files::write_embedded(template, to, &mut |_, content| Ok(Some(content.into())))?;
                vendor::write(to)
            }
        }
    }
}

/// The names of those of this program, in order.
pub fn embedded() -> Vec<String> {
    let names = EMBEDDED.dirs().filter_map(|dir| dir.path().to_str().map(str::to_owned));
    names.collect::<BTreeSet<_>>().into_iter().collect()
}

/// The names of those below a folder, in order; `None` if it has no folder `template`.
pub fn of_folder(dir: &Path) -> anyhow::Result<Option<Vec<String>>> {
    let folder = dir.join(FOLDER);
    if !folder.is_dir() {
        return Ok(None);
    }
    let mut names = Vec::new();
    for entry in folder.read_dir().with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry.with_context(|| format!("cannot read {}", folder.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(Some(names))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::super::manifest::Manifest;
    use super::*;

    #[test]
    fn every_template_is_complete() {
        let names = embedded();
        let expected = ["assemblyscript", "c", "go", "js", "python", "rust", "rust-fl-wasm-rs", "ts", "zig"];
        assert_eq!(names, expected);
        let folder = tempfile::tempdir().expect("a folder");
        for name in names {
            let to = folder.path().join(&name);
            Template::Embedded(name.clone()).create("greet_2", &to).expect("created");
            let manifest = Manifest::read(&to).expect("a manifest");
            let language = name.split_once('-').map_or(&*name, |(language, _)| language);
            assert_eq!(manifest.name, "greet_2");
            assert_eq!(manifest.language.map(|language| language.to_string()).as_deref(), Some(language));
            let has_cases = to.join("tests").read_dir().expect("tests").flatten().any(|test| {
                let text = fs::read_to_string(test.path()).expect("text");
                serde_json::from_str::<serde_json::Value>(&text).expect("JSON").is_array()
            });
            let readme = fs::read_to_string(to.join("README.md")).expect("a README");
            assert!(has_cases && readme.contains("fl fn invoke greet_2"), "{name}");
            assert!(to.join(".gitignore").is_file(), "{name}");
            assert_eq!(Language::detect(&to).expect("a language"), manifest.language.expect("a language"));
        }
    }

    #[test]
    fn folders_come_before_the_templates_of_the_program() {
        let folder = tempfile::tempdir().expect("a folder");
        let dir = folder.path();
        assert_eq!(of_folder(dir).expect("readable"), None);
        assert_eq!(Template::find("javascript", dir).expect("found"), Template::Embedded("js".into()));
        for name in ["js", "cobol"] {
            fs::create_dir_all(dir.join(FOLDER).join(name)).expect("created");
        }
        fs::write(dir.join(FOLDER).join("README"), "").expect("written");
        assert_eq!(of_folder(dir).expect("readable"), Some(vec!["cobol".into(), "js".into()]));
        for (name, found) in [("js", "js"), ("javascript", "js"), ("cobol", "cobol")] {
            let expected = Template::Folder(dir.join(FOLDER).join(found));
            assert_eq!(Template::find(name, dir).expect("found"), expected);
        }
        for name in ["basic", "..", "../template/js"] {
            let error = Template::find(name, dir).expect_err("not there").to_string();
            assert!(error.starts_with(&format!("no valid template for \"{name}\" found")), "{error}");
        }
    }

    #[test]
    fn links_are_refused() {
        let folder = tempfile::tempdir().expect("a folder");
        let from = folder.path().join("from");
        fs::create_dir(&from).expect("created");
        std::os::unix::fs::symlink("/etc/passwd", from.join("link")).expect("created");
        let error = Template::Folder(from).write(&folder.path().join("to")).expect_err("a link").to_string();
        assert!(error.ends_with("templates have no links"), "{error}");
    }
}
