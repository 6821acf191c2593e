//! The command line.

mod scripts;

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};

pub use scripts::{Explain, Scripts};

/// FunLess Mesh: serverless functions on WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "fl", version, about)]
pub struct Arguments {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: Command,
}

/// Which mesh to talk to, and as whom.
#[derive(Debug, Args)]
pub struct Target {
    /// The mesh's REST address, such as http://127.0.0.1:4000. Default: `api_host` of the profile.
    #[arg(long, global = true, env = "FL_API_HOST", value_name = "URL")]
    pub host: Option<String>,
    /// The token to show. Default: `api_token` of the profile, or `admin_token` for what only administrators
    /// may see.
    #[arg(long, global = true, env = "FL_API_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// The profile: a file with lines `api_host=`, `api_token=`, `admin_token=`, as `fl up` writes it.
    #[arg(long, global = true, env = "FL_CONFIG", value_name = "FILE", default_value = ".funless/config")]
    pub config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole mesh on this machine.
    Up(Up),
    /// Work with functions.
    #[command(subcommand)]
    Fn(Functions),
    /// Work with modules.
    #[command(subcommand)]
    Mod(Modules),
    /// Work with APP scripts, which say where functions may run.
    #[command(subcommand)]
    Script(Scripts),
    /// See the workers and how they do. Takes an administrator's token.
    Workers(Workers),
    /// See how the events do that trigger functions.
    #[command(subcommand)]
    Events(Bindings),
    /// See how the sinks do that receive the results of functions.
    #[command(subcommand)]
    Sinks(Bindings),
    /// Work with what could not be done and is kept: events not handled, results not delivered.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Add up what became of all events and results. Fails when something is not accounted for.
    Conservation {
        /// Print the answer as it came.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the whole mesh in this process, or with --mesh as six processes.
#[derive(Debug, Args)]
pub struct Up {
    /// Where the database, the compiled functions and the tokens are kept.
    #[arg(long, default_value = ".funless", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Where REST is served.
    #[arg(long, default_value = "127.0.0.1:4000", value_name = "ADDRESS")]
    pub http: SocketAddr,
    /// Where gRPC is served to clients.
    #[arg(long, default_value = "127.0.0.1:4010", value_name = "ADDRESS")]
    pub grpc: SocketAddr,
    /// Where operators find /metrics, /livez and /readyz. Default: nowhere. With --mesh each service
    /// has its own; see mesh.json in the data directory.
    #[arg(long, value_name = "ADDRESS", conflicts_with = "mesh")]
    pub operators: Option<SocketAddr>,
    /// The registry's database: postgres://user:password@host/name, or sqlite:FILE. Default: a SQLite
    /// file in the data directory.
    #[arg(long, env = "FL_DATABASE_URL", hide_env_values = true, value_name = "URL")]
    pub database_url: Option<String>,
    /// Upload the bundled function `hello`, invoke it, and keep serving.
    #[arg(long)]
    pub demo: bool,
    /// Run the six services as six supervised processes that talk gRPC over loopback.
    #[arg(long)]
    pub mesh: bool,
    /// How many workers --mesh runs.
    #[arg(long, default_value_t = 1, requires = "mesh", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// What is logged: a level, or levels by module: info,scheduler_svc=debug.
    #[arg(long, default_value = "warn", value_name = "LEVELS")]
    pub log: String,
    /// Where traces go: an OTLP gRPC receiver such as http://127.0.0.1:4317. Default: nowhere.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// The share of the traces that begin here and are kept, 0 to 1.
    #[arg(long, default_value_t = 1.0, value_name = "RATIO")]
    pub sample_ratio: f64,
    /// Sets one key of a service's configuration, such as worker.max_concurrent=64. May be repeated.
    #[arg(long, value_name = "SERVICE.KEY=VALUE")]
    pub set: Vec<String>,
}

/// How the workers are shown.
#[derive(Debug, Args)]
pub struct Workers {
    /// Show them anew every second until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Print the answer as it came; with --watch one a line.
    #[arg(long)]
    pub json: bool,
}

/// A function by its name.
#[derive(Debug, Args)]
pub struct FunctionName {
    /// The function: NAME, or MODULE/NAME.
    #[arg(value_name = "FUNCTION")]
    given: String,
    /// The module of a function that is given without one.
    #[arg(long, short, default_value = "_")]
    module: String,
}

impl FunctionName {
    /// Its module and its name.
    pub fn parts(&self) -> (&str, &str) {
        self.given.split_once('/').unwrap_or((&self.module, &self.given))
    }
}

#[derive(Debug, Subcommand)]
pub enum Functions {
    /// Create a function from a WebAssembly binary.
    Upload {
        #[command(flatten)]
        function: FunctionName,
        /// The binary, a .wasm file.
        file: PathBuf,
        /// Replace the code when the function exists.
        #[arg(long)]
        update: bool,
        /// The tag by which APP scripts know it.
        #[arg(long)]
        tag: Option<String>,
        /// Memory in KB that the scheduler reserves for one invocation.
        #[arg(long, value_name = "KB")]
        capacity: Option<u64>,
        /// The APP script that schedules it when an invocation names no policy, such as one by an event.
        #[arg(long, value_name = "NAME")]
        script: Option<String>,
        /// Its events: a JSON list of {"type", "params"}, or @FILE with one. An update replaces them.
        #[arg(long, value_name = "JSON|@FILE")]
        events: Option<String>,
        /// Its sinks: a JSON list of {"type", "params"}, or @FILE with one. An update replaces them.
        #[arg(long, value_name = "JSON|@FILE")]
        sinks: Option<String>,
        /// Do not wait until the workers have the code.
        #[arg(long)]
        no_wait: bool,
    },
    /// Invoke a function and print its result.
    Invoke(Invoke),
    /// Show what a function has logged, on all workers.
    Logs(Logs),
    /// Delete a function.
    Delete {
        #[command(flatten)]
        function: FunctionName,
    },
}

/// Which lines of a function's log.
#[derive(Debug, Args)]
pub struct Logs {
    #[command(flatten)]
    pub function: FunctionName,
    /// Go on with the lines to come, until Ctrl-C.
    #[arg(long, short)]
    pub follow: bool,
    /// At most so many of the lines that the workers remember, the latest. Default: all of them.
    #[arg(long, short = 'n', value_parser = clap::value_parser!(u32).range(1..))]
    pub lines: Option<u32>,
    /// Only lines of the trace with this id.
    #[arg(long, value_name = "TRACE_ID")]
    pub trace: Option<String>,
    /// Print JSON, an object a line.
    #[arg(long)]
    pub json: bool,
}

/// One invocation.
#[derive(Debug, Args)]
pub struct Invoke {
    #[command(flatten)]
    pub function: FunctionName,
    /// Its input, any JSON value.
    #[arg(long, short, default_value = "{}", value_name = "JSON")]
    pub args: String,
    /// The APP script that says where it may run. Default: the function's own.
    #[arg(long, value_name = "NAME")]
    pub script: Option<String>,
    /// Let the default policy choose the worker, whatever the function's own script says.
    #[arg(long, conflicts_with = "script")]
    pub no_script: bool,
    /// Print the id of the decision that chose the worker, on the standard error.
    #[arg(long)]
    pub decision: bool,
    /// Show where the time went and what it cost, on the standard error.
    #[arg(long)]
    pub trace: bool,
}

#[derive(Debug, Subcommand)]
pub enum Modules {
    /// List the modules.
    List,
    /// List the functions of a module.
    Get {
        /// Its name.
        name: String,
    },
    /// Create a module.
    Create {
        /// Its name: letters, digits and underscores.
        name: String,
    },
    /// Delete a module and all its functions.
    Delete {
        /// Its name.
        name: String,
    },
    /// Rename a module.
    Update {
        /// Its name.
        name: String,
        /// Its new name.
        new_name: String,
    },
}

#[derive(Debug, Subcommand)]
pub enum Bindings {
    /// List them with their state.
    List {
        #[command(flatten)]
        of: OfFunctions,
        /// Print the answer as it came.
        #[arg(long)]
        json: bool,
    },
    /// Show all that is known of those of one function.
    Status {
        #[command(flatten)]
        function: FunctionName,
    },
}

/// Of which functions.
#[derive(Debug, Default, Args)]
pub struct OfFunctions {
    /// Those of this module only.
    #[arg(long, short)]
    pub module: Option<String>,
    /// Those of this function of the module only.
    #[arg(long, short, requires = "module")]
    pub function: Option<String>,
}

#[derive(Debug, Subcommand)]
pub enum DeadLetters {
    /// List them, oldest first.
    List {
        #[command(flatten)]
        filter: LetterFilter,
        /// At most so many.
        #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
        limit: u16,
        /// Those after this one.
        #[arg(long, value_name = "ID")]
        after: Option<String>,
        /// Print the answer as it came.
        #[arg(long)]
        json: bool,
    },
    /// Show one with its payload.
    Show {
        /// Its id.
        id: String,
    },
    /// Try them once more.
    Redrive(Letters),
    /// Throw them away.
    Purge(Letters),
}

/// Some letters, or all.
#[derive(Debug, Args)]
pub struct Letters {
    /// Their ids.
    #[arg(value_name = "ID", required_unless_present = "all", conflicts_with = "all")]
    pub ids: Vec<String>,
    /// All that the filters let through.
    #[arg(long)]
    pub all: bool,
    #[command(flatten)]
    pub filter: LetterFilter,
}

/// Letters to which all that is given applies.
#[derive(Debug, Default, Args)]
pub struct LetterFilter {
    #[command(flatten)]
    pub of: OfFunctions,
    /// Of the event or sink with this id.
    #[arg(long, value_name = "ID")]
    pub binding: Option<String>,
    /// Of events, or of sinks.
    #[arg(long)]
    pub role: Option<Role>,
    /// Died at least so long ago: seconds, or a number with a unit, such as 15m, 12h, 7d.
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,
}

/// What a letter is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Event,
    Sink,
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn what_does_not_go_together_is_refused() {
        Arguments::command().debug_assert();
        let cases = [
            ("events list", true),
            ("events list -m m -f f --json", true),
            ("events list --function f", false),
            ("sinks status f -m m", true),
            ("sinks status", false),
            ("dead-letters list --role sink --older-than 12h --limit 1000", true),
            ("dead-letters list --limit 1001", false),
            ("dead-letters list --role both", false),
            ("dead-letters redrive 1 2", true),
            ("dead-letters redrive --all --module m", true),
            ("dead-letters redrive", false),
            ("dead-letters redrive 1 --all", false),
            ("dead-letters purge --module m", false),
            ("conservation --json", true),
            ("workers --watch --json", true),
            ("fn invoke f --script s --decision", true),
            ("fn invoke f --no-script", true),
            ("fn invoke f --script s --no-script", false),
            ("fn upload f f.wasm --script s --tag t", true),
            ("script create s s.yml", true),
            ("script create s", false),
            ("script explain s --function m/f --json", true),
            ("script explain s --decision a-1", true),
            ("script explain --decision a-1", true),
            ("script explain --function f", false),
            ("script explain s", false),
            ("script explain s --function f --decision a-1", false),
            ("script decisions --limit 10", true),
            ("script decisions --limit 0", false),
        ];
        for (line, expected) in cases {
            let words = std::iter::once("fl").chain(line.split(' '));
            assert_eq!(Arguments::try_parse_from(words).is_ok(), expected, "{line}");
        }
    }
}
