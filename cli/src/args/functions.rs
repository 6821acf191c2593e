//! `fl fn`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// A function by its name.
#[derive(Debug, Args)]
pub struct FunctionName {
    /// Function: NAME or MODULE/NAME.
    #[arg(value_name = "FUNCTION")]
    given: String,
    /// Module of a function given as NAME. Default: `_`.
    #[arg(long, short, alias = "namespace")]
    module: Option<String>,
}

impl FunctionName {
    /// Its module and its name.
    pub fn parts(&self) -> anyhow::Result<(&str, &str)> {
        let Some((module, name)) = self.given.split_once('/') else {
            return Ok((self.module.as_deref().unwrap_or("_"), &self.given));
        };
        if let Some(other) = self.module.as_deref().filter(|other| *other != module) {
            anyhow::bail!("{}: --module {other} names another module", self.given);
        }
        Ok((module, name))
    }
}

#[derive(Debug, Subcommand)]
pub enum Functions {
    /// List the functions.
    #[command(visible_alias = "l", visible_alias = "ls")]
    List {
        /// Only those of this module.
        module: Option<String>,
    },
    /// Show a function as JSON.
    #[command(visible_alias = "g")]
    Get {
        #[command(flatten)]
        function: FunctionName,
    },
    /// Create a function from a WebAssembly binary.
    #[command(visible_alias = "up")]
    Upload {
        #[command(flatten)]
        upload: Upload,
        /// Replace the function if it exists.
        #[arg(long)]
        update: bool,
    },
    /// Replace the code of a function, and what else is given.
    #[command(visible_alias = "u")]
    Update(Upload),
    /// Invoke a function and print its result.
    #[command(visible_alias = "i")]
    Invoke(Invoke),
    /// Show the logs of a function from all workers.
    Logs(Logs),
    /// Delete a function.
    #[command(visible_alias = "d")]
    Delete {
        #[command(flatten)]
        function: FunctionName,
    },
}

/// What is uploaded, and what is to be known of it.
#[derive(Debug, Args)]
#[group(skip)]
pub struct Upload {
    #[command(flatten)]
    pub function: FunctionName,
    /// WebAssembly binary.
    pub file: PathBuf,
    /// Tag that APP scripts match.
    #[arg(long)]
    pub tag: Option<String>,
    /// Memory in KB to reserve for each invocation.
    #[arg(long, value_name = "KB")]
    pub capacity: Option<u64>,
    /// APP script that schedules invocations which name none, such as those of events.
    #[arg(long, value_name = "NAME")]
    pub script: Option<String>,
    /// Event sources: a JSON list of {"type", "params"}, or @FILE. An update replaces them.
    #[arg(long, value_name = "JSON|@FILE")]
    pub events: Option<String>,
    /// Sinks: a JSON list of {"type", "params"}, or @FILE. An update replaces them.
    #[arg(long, value_name = "JSON|@FILE")]
    pub sinks: Option<String>,
    /// Return before the workers have prepared the code.
    #[arg(long)]
    pub no_wait: bool,
}

/// Options of `fl fn logs`.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub function: FunctionName,
    /// Stream new lines until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// Show at most this many of the latest lines. Default: all that the workers keep.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: Option<u32>,
    /// Show only the lines of this trace.
    #[arg(long, value_name = "TRACE_ID")]
    pub trace: Option<String>,
    /// Print JSON, one object per line.
    #[arg(long)]
    pub json: bool,
}

/// Options of `fl fn invoke`.
#[derive(Debug, Args)]
pub struct Invoke {
    #[command(flatten)]
    pub function: FunctionName,
    /// Argument whose value is a string. Repeatable. Or any JSON value, as with --json.
    #[arg(long, short, value_name = "KEY=VALUE|JSON")]
    pub args: Vec<String>,
    /// Arguments: any JSON value.
    #[arg(long, short, conflicts_with = "args")]
    pub json: Option<String>,
    /// APP script to schedule with. Default: the function's own.
    #[arg(long, value_name = "NAME")]
    pub script: Option<String>,
    /// Use the default policy instead of the function's own script.
    #[arg(long, conflicts_with = "script")]
    pub no_script: bool,
    /// Print the id of the scheduling decision to standard error.
    #[arg(long)]
    pub decision: bool,
    /// Print the receipt to standard error: where the time went, CPU time and memory.
    #[arg(long)]
    pub trace: bool,
}
