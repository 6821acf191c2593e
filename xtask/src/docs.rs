//! The API documentation.
//!
//! `cargo doc` compiles every dependency anew, since it wants no machine code. Doctests want what `cargo build` has
//! built, and cargo runs rustdoc for them with all that it needs to know of a crate: so this program takes rustdoc's
//! place there, and documents the crate instead of testing it.

use std::env;
use std::process::Command;

use anyhow::Context as _;

use crate::workspace;

/// Set when cargo runs this program as rustdoc.
const AS_RUSTDOC: &str = "XTASK_AS_RUSTDOC";

/// Documents the libraries of the workspace.
pub(crate) fn build() -> anyhow::Result<()> {
    let this = env::current_exe().context("where is this program?")?;
    let mut cargo = workspace::cargo();
    cargo.args(["test", "--doc", "--workspace", "--locked", "--quiet"]);
    workspace::run(cargo.env("RUSTDOC", this).env(AS_RUSTDOC, "1"))
}

/// Whether cargo runs this program as rustdoc.
pub(crate) fn is_rustdoc() -> bool {
    env::var_os(AS_RUSTDOC).is_some()
}

/// Documents the crate that cargo wants tested.
pub(crate) fn document() -> anyhow::Result<()> {
    let mut rustdoc = Command::new("rustdoc");
    let mut arguments = env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        match argument.to_str() {
            Some("--test") => {}
            Some("--test-run-directory") => drop(arguments.next()),
            _ => {
                rustdoc.arg(argument);
            }
        }
    }
    let target = env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace::root().join("target"), Into::into);
    workspace::run(rustdoc.arg("--out-dir").arg(target.join("doc")).arg("--deny=warnings"))
}
