//! What the book in docs/ has from the code: the reference pages, and copies of files.

mod configuration;
mod copies;
mod grpc;
mod markdown;
mod rest;
mod schema;

use anyhow::Context as _;

use crate::workspace;

/// Below the root: where the pages are.
const FOLDER: &str = "docs/reference";

/// A page's name and what writes it.
type Writer = (&'static str, fn() -> anyhow::Result<String>);

const PAGES: [Writer; 3] =
    [("configuration", configuration::page), ("grpc", grpc::page), ("rest", rest::page)];

/// The pages: paths from the root of the repository, and contents.
pub(crate) fn pages() -> anyhow::Result<Vec<(String, String)>> {
    let page = |(name, write): Writer| -> anyhow::Result<_> {
        let path = format!("{FOLDER}/{name}.md");
        let text = write().with_context(|| path.clone())?;
        Ok((path, text))
    };
    let mut pages = PAGES.into_iter().map(page).collect::<anyhow::Result<Vec<_>>>()?;
    pages.extend(copies::pages()?);
    Ok(pages)
}

/// Has `fl` write the page of its command line, or check it.
pub(crate) fn command_line(check: bool) -> anyhow::Result<()> {
    let mut cargo = workspace::cargo();
    if check {
        cargo.args(["test", "--quiet", "--locked", "--package", "cli", "manual::markdown"]);
    } else {
        cargo.args(["run", "--quiet", "--locked", "--bin", "fl", "--", "man", "--markdown", FOLDER]);
    }
    workspace::run(&mut cargo)
}
