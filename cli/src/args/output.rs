//! How results are printed.

use clap::{Args, ValueEnum};

/// What a command prints its result as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Format {
    /// Text for people.
    Table,
    /// The response of the REST API, on one line.
    Json,
    /// The same as YAML.
    Yaml,
}

/// The format of what a command shows.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Output {
    /// Format of the output.
    #[arg(long, short, value_enum, value_name = "FORMAT")]
    output: Option<Format>,
    /// The same as --output json.
    #[arg(long, conflicts_with = "output")]
    json: bool,
}

impl Output {
    /// The format that was asked for, if any.
    pub fn format(self) -> Option<Format> {
        if self.json { Some(Format::Json) } else { self.output }
    }
}

/// The format of a list.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Listing {
    #[command(flatten)]
    pub output: Output,
    /// Print only the names or ids.
    #[arg(long, short, conflicts_with_all = ["output", "json"])]
    pub quiet: bool,
}

/// The format of what a command finds that checks something.
#[derive(Debug, Clone, Copy, Default, Args)]
#[group(skip)]
pub struct Check {
    #[command(flatten)]
    pub output: Output,
    /// Print nothing: the exit code says whether all is well.
    #[arg(long, short, conflicts_with_all = ["output", "json"])]
    pub quiet: bool,
}

/// Of commands that change something.
#[derive(Debug, Clone, Copy, Default, Args)]
pub struct Quiet {
    /// Print no messages of success.
    #[arg(long, short)]
    pub quiet: bool,
}
