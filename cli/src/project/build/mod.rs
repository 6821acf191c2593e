//! Builds functions: a file for each toolchain.

mod assemblyscript;
mod custom;
mod go;
mod javascript;
mod npm;
mod python;
mod rust;
mod zig;

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};
use indicatif::ProgressBar;

use super::language::Language;
use super::manifest::{Build, Manifest};

/// Below the folder of a project: where the builders leave the binary, unless their toolchain decides.
const OUTPUT: &str = "build/function.wasm";

/// The source of a function in a folder.
#[derive(Debug)]
pub struct Project {
    /// The folder.
    pub folder: PathBuf,
    /// What its `function.toml` says, if there is one.
    pub manifest: Option<Manifest>,
    builder: Builder,
}

/// What builds a function.
#[derive(Debug, Clone)]
enum Builder {
    /// What the manifest says.
    Custom(Build),
    /// What is usual for the language.
    Language(Language),
}

impl Project {
    /// The project in this folder. The language is the given one, or that of the manifest, or else the files tell.
    pub fn open(folder: &Path, language: Option<Language>) -> anyhow::Result<Self> {
        if !folder.is_dir() {
            bail!("{} is not a folder", folder.display());
        }
        let manifest = Manifest::read_if_present(folder)?;
        let build = manifest.as_ref().and_then(|manifest| manifest.build.clone());
        let builder = match (language, build, manifest.as_ref().and_then(|manifest| manifest.language)) {
            (Some(language), _, _) | (None, None, Some(language)) => Builder::Language(language),
            (None, Some(build), _) => Builder::Custom(build),
            (None, None, None) => Builder::Language(Language::detect(folder)?),
        };
        Ok(Self { folder: folder.to_owned(), manifest, builder })
    }

    /// What builds it, for people.
    pub fn toolchain(&self) -> &'static str {
        match &self.builder {
            Builder::Custom(_) => Manifest::FILE,
            Builder::Language(language) => language.title(),
        }
    }

    /// Builds it. Returns the path of the WebAssembly binary.
    pub async fn build(&self, bar: &ProgressBar) -> anyhow::Result<PathBuf> {
        let folder = &self.folder;
        let file = match &self.builder {
            Builder::Custom(build) => custom::build(folder, build, bar).await,
            Builder::Language(Language::Rust) => rust::build(folder, bar).await,
            Builder::Language(Language::JavaScript) => javascript::build(folder, "js", bar).await,
            Builder::Language(Language::TypeScript) => javascript::build(folder, "ts", bar).await,
            Builder::Language(Language::AssemblyScript) => assemblyscript::build(folder, bar).await,
            Builder::Language(Language::Python) => python::build(folder, bar).await,
            Builder::Language(Language::C) => zig::build_c(folder, bar).await,
            Builder::Language(Language::Zig) => zig::build_zig(folder, bar).await,
            Builder::Language(Language::Go) => go::build(folder, bar).await,
        }?;
        read_wasm(&file)?;
        Ok(file)
    }
}

/// Reads a WebAssembly binary.
pub fn read_wasm(file: &Path) -> anyhow::Result<Vec<u8>> {
    let code = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
    if !code.starts_with(b"\0asm") {
        bail!(
            "{} is not a WebAssembly binary; compile the function for {} first",
            file.display(),
            wasm_toolchain::TARGET
        );
    }
    Ok(code)
}

/// The path of the binary below a project's folder. Its folder is made.
fn output(folder: &Path) -> anyhow::Result<PathBuf> {
    let file = folder.join(OUTPUT);
    let parent = file.parent().unwrap_or(folder);
    std::fs::create_dir_all(parent).with_context(|| format!("cannot create {}", parent.display()))?;
    // A command runs in the folder of the project.
    std::path::absolute(&file).with_context(|| file.display().to_string())
}

/// The first of these files that is there.
fn source(folder: &Path, candidates: &[&str]) -> anyhow::Result<PathBuf> {
    let found = candidates.iter().map(|name| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| {
        format!("necessary file {} not found in path {}", candidates.join(" or "), folder.display())
    })
}

/// The error that a program is missing, with what gets it.
fn missing(program: &str, how_to_get: &str) -> anyhow::Error {
    anyhow::anyhow!("{program} is missing. Get it with:\n  {}", how_to_get.replace('\n', "\n  "))
}
