//! `fl script`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Subcommand)]
pub enum Scripts {
    /// Validate and store a script.
    Create {
        /// Name of the script.
        name: String,
        /// YAML file.
        file: PathBuf,
    },
    /// List the scripts and their owners. A script of an administrator is shared: it has none.
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

/// Where a load would run: each invocation is placed as a scheduler would, and nothing is run.
#[derive(Debug, Args)]
pub struct Simulate {
    /// A file with an APP script, or the name of a stored one.
    #[arg(value_name = "FILE|NAME", required_unless_present = "default_policy")]
    pub script: Option<String>,
    /// Place by the default policy, not by a script.
    #[arg(long, conflicts_with = "script")]
    pub default_policy: bool,
    /// The workers, YAML or JSON: a list of {name, memory: 512MiB}, or what `fl workers --json` prints.
    #[arg(long, value_name = "FILE")]
    pub workers: PathBuf,
    /// The load, YAML or JSON: a list of {at: 1.5s, tag, capacity: 64MiB, duration: 200ms}, or what
    /// `fl script decisions --json` prints.
    #[arg(long, value_name = "FILE")]
    pub load: PathBuf,
    /// The seed of the strategy `random`: the same seed makes the same choices.
    #[arg(long, default_value_t = 0)]
    pub seed: u64,
    /// Draw a chart into this file.
    #[arg(long, value_name = "FILE")]
    pub svg: Option<PathBuf>,
    /// Show every invocation, however many there are.
    #[arg(long)]
    pub all: bool,
    /// Print JSON.
    #[arg(long, conflicts_with = "all")]
    pub json: bool,
}
