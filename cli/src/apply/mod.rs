//! `fl apply`: a mesh has what files say.
//!
//! `tree` reads the files, `plan` builds the functions and compares everything with the mesh, and `carry_out` does what is
//! left to do. `record` remembers what was created, so that only this is pruned.

mod carry_out;
mod code;
mod compare;
mod manifest;
mod plan;
mod record;
mod shown;
mod tree;

use anyhow::bail;

use crate::args::Apply;
use crate::client::Client;
use crate::output::{self, note, warn};
use plan::{Plan, Records};
use record::Record;
use tree::Tree;

/// Applies files, or shows what that would change.
pub async fn run(options: &Apply, client: &Client) -> anyhow::Result<()> {
    if let Some(file) = options.files.iter().find(|path| options.prune && path.is_file()) {
        bail!("--prune takes a folder: {} does not say what else there is", file.display());
    }
    let tree = Tree::read(&options.files)?;
    let mut records = Records::new();
    for root in tree.roots(&options.files) {
        records.insert(root.clone(), Record::read(&root, client.base())?);
    }
    let plan = Box::pin(Plan::make(&tree, &records, client, options.prune)).await?;
    for warning in plan.warnings() {
        warn(&warning);
    }
    if options.diff {
        output::text(&shown::diff(&plan))?;
    } else {
        Box::pin(carry_out::all(&plan, &mut records, client, options)).await?;
    }
    let orphans = plan::orphans(&tree, &records);
    if !options.prune && !orphans.is_empty() && !options.quiet.quiet {
        note(&format!("no longer in the files: {}; --prune deletes them", orphans.join(", ")));
    }
    Ok(())
}
