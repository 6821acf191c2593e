//! `fl script`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::scripts::Simulate;

#[derive(Debug, Subcommand)]
pub enum Scripts {
    /// Store a script, unless something is wrong with it.
    Create {
        /// Its name: letters, digits and underscores.
        name: String,
        /// The script, a YAML file.
        file: PathBuf,
    },
    /// List the scripts.
    List,
    /// Print a script as it was stored.
    Get {
        /// Its name.
        name: String,
    },
    /// Delete a script.
    Delete {
        /// Its name.
        name: String,
    },
    /// Say what is wrong with a script, and what is doubtful. Fails when it would be refused.
    Lint {
        /// The script, a YAML file.
        file: PathBuf,
    },
    /// Explain where a script lets a function run now, or why an invocation ran where it ran.
    Explain(Explain),
    /// Say where a load would run, and when, without running it.
    Simulate(Simulate),
    /// List the latest decisions, oldest first.
    Decisions {
        /// At most so many. Default: 1000.
        #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
        limit: Option<u32>,
        /// Print the answer as it came.
        #[arg(long)]
        json: bool,
    },
}

/// What to explain: a function now, or a decision of the past.
#[derive(Debug, Args)]
pub struct Explain {
    /// The script's name. A decision needs none: it is known who made it.
    #[arg(required_unless_present = "decision")]
    pub name: Option<String>,
    /// The function; without a module it is one of `_`.
    #[arg(
        long,
        short,
        value_name = "MODULE/FUNCTION",
        required_unless_present = "decision",
        conflicts_with = "decision"
    )]
    pub function: Option<String>,
    /// The decision, as `fl fn invoke --decision` and `fl script decisions` name it.
    #[arg(long, short, value_name = "ID")]
    pub decision: Option<String>,
    /// Print the answer as it came.
    #[arg(long)]
    pub json: bool,
}
