//! `fl events` and `fl sinks`.

use clap::{Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

use super::functions::FunctionName;

#[derive(Debug, Subcommand)]
pub enum Bindings {
    /// List them with their status.
    List {
        #[command(flatten)]
        of: OfFunctions,
        /// Print the response as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show the details of those of one function.
    Status {
        #[command(flatten)]
        function: FunctionName,
    },
}

/// Filter by function.
#[derive(Debug, Default, Args)]
pub struct OfFunctions {
    /// Only those of this module.
    #[arg(long, short)]
    pub module: Option<String>,
    /// Only those of this function; requires --module.
    #[arg(long, short, requires = "module")]
    pub function: Option<String>,
}

/// The side of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Event,
    Sink,
}
