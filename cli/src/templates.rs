//! `fl template`.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Context as _, bail};
use tokio::process::Command;

use crate::args::Templates;
use crate::project::{Template, run_program, spinner, template};

/// Runs one of the commands.
pub async fn run(command: Templates) -> anyhow::Result<()> {
    match command {
        Templates::List { template_dir } => list(&template_dir),
        Templates::Pull { repository, out_dir, force } => pull(repository.as_deref(), &out_dir, force).await,
    }
}

/// Lists the templates of a folder and those of this program.
fn list(dir: &Path) -> anyhow::Result<()> {
    let of_folder = template::of_folder(dir)?.unwrap_or_default();
    let names: BTreeSet<_> = of_folder.into_iter().chain(template::embedded()).collect();
    println!("Available templates:");
    for name in names {
        println!("- {name}");
    }
    println!();
    Ok(())
}

/// Copies templates into the folder `template` below `out`.
async fn pull(repository: Option<&str>, out: &Path, force: bool) -> anyhow::Result<()> {
    if !out.is_dir() {
        bail!("{} is not a folder", out.display());
    }
    let Some(repository) = repository else {
        let embedded = template::embedded().into_iter().map(|name| (name.clone(), Template::Embedded(name)));
        return copy(embedded.collect(), "fl", out, force);
    };
    if Path::new(repository).is_dir() {
        return copy(of(Path::new(repository))?, repository, out, force);
    }
    let clone = tempfile::tempdir().context("cannot create a folder for the repository")?;
    clone_repository(repository, clone.path()).await?;
    copy(of(clone.path())?, repository, out, force)
}

/// The templates of a folder, by their names.
fn of(folder: &Path) -> anyhow::Result<Vec<(String, Template)>> {
    let Some(names) = template::of_folder(folder)? else {
        bail!("cannot find templates. Folder '{}' missing?", template::FOLDER);
    };
    let template = |name: String| {
        let path = folder.join(template::FOLDER).join(&name);
        (name, Template::Folder(path))
    };
    Ok(names.into_iter().map(template).collect())
}

async fn clone_repository(url: &str, to: &Path) -> anyhow::Result<()> {
    let mut git = Command::new("git");
    git.args(["clone", "--quiet", "--depth=1", "--", url]).arg(to).env("GIT_TERMINAL_PROMPT", "0");
    let bar = spinner("Cloning templates repository...");
    let cloned = run_program(&mut git, &bar).await;
    bar.finish_and_clear();
    cloned.with_context(|| {
        format!("cannot clone {url}, which is no folder either; this takes the program git")
    })?;
    Ok(())
}

/// Copies templates, and says which.
fn copy(templates: Vec<(String, Template)>, from: &str, out: &Path, force: bool) -> anyhow::Result<()> {
    let (mut copied, mut skipped) = (Vec::new(), Vec::new());
    for (name, template) in templates {
        let to = out.join(template::FOLDER).join(&name);
        if to.exists() && !force {
            skipped.push(name);
            continue;
        }
        template.write(&to)?;
        copied.push(name);
    }
    if !skipped.is_empty() {
        println!("Skipped {} template(s) (already present): [{}]", skipped.len(), skipped.join(" "));
    }
    if copied.is_empty() {
        println!("No new templates retrieved.");
    } else {
        println!("Retrieved {} templates from {from} : [{}]", copied.len(), copied.join(" "));
    }
    Ok(())
}
