//! `fl script`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::scripts::Simulate;

#[derive(Debug, Subcommand)]
pub enum Scripts {
    /// Validate and store a script.
    Create {
        /// Name of the script.
        name: String,
        /// YAML file.
        file: PathBuf,
    },
    /// List the scripts.
    List,
    /// Print a script.
    Get {
        /// Name of the script.
        name: String,
    },
    /// Delete a script.
    Delete {
        /// Name of the script.
        name: String,
        /// Delete it though functions use it: their invocations fail until a script has the name again.
        #[arg(long)]
        force: bool,
    },
    /// Check a script for errors and warnings; fails if it has errors.
    Lint {
        /// YAML file.
        file: PathBuf,
    },
    /// Explain where a script would run a function now, or why an invocation ran where it did.
    Explain(Explain),
    /// Simulate where a load would run.
    Simulate(Simulate),
    /// List the latest scheduling decisions, oldest first.
    Decisions {
        /// Maximum number to list. Default: 1000.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
        /// Print the response as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Options of `fl script explain`: a function now, or a past decision.
#[derive(Debug, Args)]
pub struct Explain {
    /// Name of the script; not needed with --decision.
    #[arg(required_unless_present = "decision")]
    pub name: Option<String>,
    /// Function; its module defaults to `_`.
    #[arg(
        long,
        short,
        value_name = "MODULE/FUNCTION",
        required_unless_present = "decision",
        conflicts_with = "decision"
    )]
    pub function: Option<String>,
    /// Id of a decision, from `fl fn invoke --decision` or `fl script decisions`.
    #[arg(long, short, value_name = "ID")]
    pub decision: Option<String>,
    /// Print the response as JSON.
    #[arg(long)]
    pub json: bool,
}
