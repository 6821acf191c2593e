//! `fl dead-letters`.

use clap::{Args, Subcommand};

use super::bindings::{OfFunctions, Role};

#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List dead letters, oldest first.
    List {
        #[command(flatten)]
        filter: LetterFilter,
        /// Maximum number to list.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// List those after this id.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// Print the response as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Show a dead letter with its payload.
    Show {
        /// Id of the dead letter.
        id: String,
    },
    /// Retry dead letters.
    Redrive(Letters),
    /// Delete dead letters.
    Purge(Letters),
}

/// Selects dead letters: by id, or everything that matches the filters.
#[derive(Debug, Args)]
pub struct Letters {
    /// Ids of dead letters.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<String>,
    /// Everything that matches the filters.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub filter: LetterFilter,
}

/// Filters of dead letters; all must match.
#[derive(Debug, Default, Args)]
pub struct LetterFilter {
    #[command(flatten)]
    pub of: OfFunctions,
    /// Only those of this event source or sink.
    #[arg(long, value_name = "ID")]
    pub binding: Option<String>,
    /// Only those of event sources, or only those of sinks.
    #[arg(long)]
    pub role: Option<Role>,
    /// Dead-lettered more than this long ago: seconds, or a number with a unit such as 15m, 12h, 7d.
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,
}
