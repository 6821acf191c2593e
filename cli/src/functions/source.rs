//! Functions from their source: `fl fn new`, `fl fn build`, `fl fn create` and `fl fn update` in a project.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use super::upload::{Mode, NewFunction, upload_function};
use crate::args::{Create, New, Source};
use crate::bindings::Bindings;
use crate::client::Client;
use crate::project::{Language, Manifest, Project, Template, read_wasm, spinner};

/// Starts a function from a template.
pub fn new(options: &New) -> anyhow::Result<()> {
    let New { name, lang, template_dir, out_dir } = options;
    Manifest::check_name(name).map_err(anyhow::Error::msg)?;
    let to = out_dir.join(name);
    if to.exists() {
        bail!("function \"{name}\" already exists: {}", to.display());
    }
    Template::find(lang, template_dir)?.create(name, &to)?;
    println!("Function \"{name}\" created!");
    Ok(())
}

/// Compiles a function, and leaves `NAME.wasm`.
pub async fn build(options: Source) -> anyhow::Result<()> {
    let Source { name, dir, language, destination } = options;
    let (project, name) = open(name, dir, language)?;
    println!("Building {name} into a wasm binary...\n");
    let built = compile(&project).await?;
    let file = destination.join(format!("{name}.wasm"));
    std::fs::create_dir_all(&destination)
        .and_then(|()| std::fs::write(&file, built))
        .with_context(|| format!("cannot write {}", file.display()))?;
    println!("Successfully built {name}.wasm 🥳🥳");
    Ok(())
}

/// Compiles a function and uploads it, with what its manifest says.
pub async fn upload(options: Create, mode: Mode, client: &Client) -> anyhow::Result<()> {
    let Create { name, dir, module, language, no_wait } = options;
    let (project, name) = open(name, dir, language)?;
    let manifest = project.manifest.as_ref();
    let module = module.or_else(|| manifest.map(|manifest| manifest.module.clone()));
    let module = module.unwrap_or_else(|| Manifest::DEFAULT_MODULE.to_owned());
    Manifest::check_name(&module).map_err(anyhow::Error::msg)?;
    let mut upload = NewFunction { module: &module, name: &name, wait: !no_wait, ..NewFunction::default() };
    if let Some(manifest) = manifest {
        upload.metadata = manifest.metadata.clone();
        upload.bindings = Bindings::of_manifest(manifest, mode == Mode::Update)?;
    }
    match mode {
        Mode::Update => println!("Updating {name} function...\n"),
        Mode::Create | Mode::CreateOrUpdate => println!("Creating {name} function...\n"),
    }
    let code = compile(&project).await?;
    let bar = spinner("Uploading function...");
    let uploaded = upload_function(client, &upload, code, mode).await;
    bar.finish_and_clear();
    let uploaded = uploaded?;
    match mode {
        Mode::Update => println!("Successfully updated function {module}/{name} 👌"),
        Mode::Create | Mode::CreateOrUpdate => println!("Successfully created function {module}/{name}."),
    }
    uploaded.report()
}

/// The module of what is created, and its name.
pub fn named(options: &Create) -> anyhow::Result<(String, String)> {
    let Create { name, dir, module, .. } = options;
    let (of_manifest, described) = described(dir.as_deref().unwrap_or(Path::new(".")))?;
    Ok((module.clone().unwrap_or(of_manifest), name.clone().unwrap_or(described)))
}

/// The module and the name of the function in a folder, as far as `function.toml` is there and says them.
pub fn described(folder: &Path) -> anyhow::Result<(String, String)> {
    let described = Manifest::read_if_present(folder)?.map(|manifest| (manifest.module, manifest.name));
    Ok(described.unwrap_or_else(|| (Manifest::DEFAULT_MODULE.to_owned(), String::new())))
}

/// The project in the folder with the function's name. Without them, what `function.toml` here describes.
fn open(
    name: Option<String>,
    dir: Option<PathBuf>,
    language: Option<Language>,
) -> anyhow::Result<(Project, String)> {
    let (Some(name), Some(dir)) = (name, dir) else {
        let here = Path::new(".");
        let manifest =
            Manifest::read(here).context("give NAME and DIR, or run this beside a function.toml")?;
        return Ok((Project::open(here, language)?, manifest.name));
    };
    Manifest::check_name(&name).map_err(anyhow::Error::msg)?;
    Ok((Project::open(&dir, language)?, name))
}

async fn compile(project: &Project) -> anyhow::Result<Vec<u8>> {
    let bar = spinner(&format!("Building function ({})...", project.toolchain()));
    let built = project.build(&bar).await;
    bar.finish_and_clear();
    read_wasm(&built?)
}
