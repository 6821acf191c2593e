//! The command line.

mod scripts;

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand, ValueEnum};
use mesh::config::{AdminListen, LogFormat};
use mesh::egress::Rule;
use mesh::tls::ServerTlsConfig;
use serde::{Deserialize, Serialize};

pub use scripts::{Explain, Scripts, Simulate};

/// FunLess Mesh: serverless functions on WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "fl", version, about)]
pub struct Arguments {
    #[command(flatten)]
    pub target: Target,
    #[command(subcommand)]
    pub command: Command,
}

impl Arguments {
    /// Reads a command line.
    pub fn read(words: impl IntoIterator<Item = OsString>) -> Result<Self, clap::Error> {
        let mut command = Self::command();
        let matches = command.try_get_matches_from_mut(words)?;
        if let Some(up) = matches.subcommand_matches("up") {
            // The environment and a profile are for all commands of a shell; a flag is for this one.
            let is_flag = |name: &&str| up.value_source(name) == Some(ValueSource::CommandLine);
            if let Some(flag) = ["host", "token", "config"].into_iter().find(is_flag) {
                let message = format!(
                    "--{flag} is for commands that use a mesh, and `fl up` runs one: addresses are --http and --grpc, \
                     its tokens are in the file `config` of --data-dir, and settings of services are --set and \
                     FUNLESS_<SERVICE>_<KEY>"
                );
                return Err(command.error(ErrorKind::ArgumentConflict, message));
            }
        }
        Self::from_arg_matches(&matches)
    }
}

/// The mesh to talk to, and the credentials to use.
#[derive(Debug, Args)]
pub struct Target {
    /// Address of the REST API, such as http://127.0.0.1:4000. Default: `api_host` of the profile.
    #[arg(long, global = true, env = "FL_API_HOST", value_name = "URL")]
    pub host: Option<String>,
    /// Bearer token. Default: `api_token` of the profile, or `admin_token` for commands that need an
    /// administrator.
    #[arg(long, global = true, env = "FL_API_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Profile: a file with the lines `api_host=`, `api_token=` and `admin_token=`, as written by `fl up`.
    #[arg(long, global = true, env = "FL_CONFIG", value_name = "FILE", default_value = ".funless/config")]
    pub config: PathBuf,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole mesh on this machine.
    Up(Up),
    /// Manage and invoke functions.
    #[command(subcommand)]
    Fn(Functions),
    /// Manage modules.
    #[command(subcommand)]
    Mod(Modules),
    /// Manage APP scripts, which control where functions run.
    #[command(subcommand)]
    Script(Scripts),
    /// Show the workers and their load. Requires an administrator's token.
    Workers(Workers),
    /// Show the status of event sources.
    #[command(subcommand)]
    Events(Bindings),
    /// Show the status of sinks.
    #[command(subcommand)]
    Sinks(Bindings),
    /// Manage dead letters: events that could not be handled and results that could not be delivered.
    #[command(subcommand)]
    DeadLetters(DeadLetters),
    /// Check that nothing was lost.
    #[command(subcommand)]
    Audit(Audits),
    /// The former name of `fl audit events`.
    #[command(hide = true)]
    Conservation {
        /// Print the response as JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
pub enum Audits {
    /// Check that every event and result is accounted for; fails if the counters do not add up.
    Events {
        /// Print the response as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// Runs the whole mesh in this process, or with --mesh as six processes.
#[derive(Debug, Args)]
pub struct Up {
    /// Directory of the database, the compiled functions and the tokens.
    #[arg(long, default_value = ".funless", value_name = "DIR")]
    pub data_dir: PathBuf,
    /// Address of the REST API.
    #[arg(long, default_value = "127.0.0.1:4000", value_name = "ADDRESS")]
    pub http: SocketAddr,
    /// Address of the gRPC API.
    #[arg(long, default_value = "127.0.0.1:4010", value_name = "ADDRESS")]
    pub grpc: SocketAddr,
    /// Address of /metrics, /livez, /readyz and /log, or `off`. With --mesh the gateway's; registry, scheduler,
    /// worker, connector, sink and further workers have the ports that follow.
    #[arg(long, default_value = "127.0.0.1:4100", value_name = "ADDRESS|off")]
    pub admin: AdminListen,
    /// PEM file of the certificate chain with which the REST and gRPC APIs serve TLS. Default: no TLS.
    #[arg(long, value_name = "FILE", requires = "tls_key", conflicts_with = "demo")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the private key of --tls-cert.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
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
    /// Number of workers; requires --mesh.
    #[arg(long, default_value_t = 1, requires = "mesh", value_parser = clap::value_parser!(u16).range(1..))]
    pub workers: u16,
    /// Log level, or levels by module: info,scheduler_svc=debug.
    #[arg(long, default_value = "warn", value_name = "LEVELS")]
    pub log: String,
    /// Format of log lines: JSON, for people, or `auto`: for people on a terminal, else JSON.
    #[arg(long, value_enum, default_value_t = LogFormat::Auto, value_name = "FORMAT")]
    pub log_format: LogFormat,
    /// OTLP gRPC endpoint that receives traces, such as http://127.0.0.1:4317. Default: none.
    #[arg(long, value_name = "URL")]
    pub otlp_endpoint: Option<String>,
    /// Share of new traces to sample, from 0 to 1.
    #[arg(long, default_value_t = 1.0, value_name = "RATIO")]
    pub sample_ratio: f64,
    /// Deny functions, event sources and sinks connections to loopback, too. Without it, loopback is allowed except for
    /// the mesh's own ports.
    #[arg(long)]
    pub strict: bool,
    /// Let functions, event sources and sinks connect to addresses that are denied by default, such as
    /// 192.168.1.7:1883, 10.0.0.0/8 or broker.lan. Repeatable, or separated by commas.
    #[arg(long, env = "FL_ALLOW_EGRESS", value_delimiter = ',', value_name = "HOST[:PORTS]")]
    pub allow_egress: Vec<Rule>,
    /// Set one configuration key of a service, such as worker.max_concurrent=64. Repeatable.
    #[arg(long, value_name = "SERVICE.KEY=VALUE")]
    pub set: Vec<String>,
}

impl Up {
    /// What types cannot say. An error names the flag.
    pub fn check(&self) -> anyhow::Result<()> {
        let mut addresses = vec![("--http", self.http), ("--grpc", self.grpc)];
        if let AdminListen::At(address) = self.admin {
            addresses.push(("--admin", address));
        }
        match addresses.iter().find(|(_, address)| address.port() == 0) {
            Some((flag, address)) => anyhow::bail!("{flag} {address}: expected a port from 1 to 65535"),
            None => Ok(()),
        }
    }

    /// The ports of the REST and gRPC APIs, and the first admin port.
    pub fn ports(&self) -> Vec<u16> {
        let admin = match self.admin {
            AdminListen::At(address) => Some(address),
            AdminListen::Off | AdminListen::Beside => None,
        };
        [self.http, self.grpc].into_iter().chain(admin).map(|address| address.port()).collect()
    }

    /// The certificate and key of the REST and gRPC APIs.
    pub fn tls(&self) -> Option<ServerTlsConfig> {
        let (cert, key) = (self.tls_cert.clone()?, self.tls_key.clone()?);
        Some(ServerTlsConfig { cert, key, client_ca: None })
    }

    /// The URL of a port that clients use.
    pub fn url(&self, address: SocketAddr) -> String {
        let scheme = if self.tls_cert.is_some() { "https" } else { "http" };
        format!("{scheme}://{address}")
    }
}

/// Options of `fl workers`.
#[derive(Debug, Args)]
pub struct Workers {
    /// Refresh every second until Ctrl-C.
    #[arg(long)]
    pub watch: bool,
    /// Print the response as JSON; with --watch, one per line.
    #[arg(long)]
    pub json: bool,
}

/// A function by its name.
#[derive(Debug, Args)]
pub struct FunctionName {
    /// Function: NAME or MODULE/NAME.
    #[arg(value_name = "FUNCTION")]
    given: String,
    /// Module of a function given as NAME.
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
        /// WebAssembly binary.
        file: PathBuf,
        /// Replace the function if it exists.
        #[arg(long)]
        update: bool,
        /// Tag that APP scripts match.
        #[arg(long)]
        tag: Option<String>,
        /// Memory in KB to reserve for each invocation.
        #[arg(long, value_name = "KB")]
        capacity: Option<u64>,
        /// APP script that schedules invocations which name none, such as those of events.
        #[arg(long, value_name = "NAME")]
        script: Option<String>,
        /// Event sources: a JSON list of {"type", "params"}, or @FILE. An update replaces them.
        #[arg(long, value_name = "JSON|@FILE")]
        events: Option<String>,
        /// Sinks: a JSON list of {"type", "params"}, or @FILE. An update replaces them.
        #[arg(long, value_name = "JSON|@FILE")]
        sinks: Option<String>,
        /// Return before the workers have prepared the code.
        #[arg(long)]
        no_wait: bool,
    },
    /// Invoke a function and print its result.
    Invoke(Invoke),
    /// Show the logs of a function from all workers.
    Logs(Logs),
    /// Delete a function.
    Delete {
        #[command(flatten)]
        function: FunctionName,
    },
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
    /// Arguments: any JSON value.
    #[arg(long, short, default_value = "{}", value_name = "JSON")]
    pub args: String,
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

#[derive(Debug, Subcommand)]
pub enum Modules {
    /// List the modules.
    List,
    /// List the functions of a module.
    Get {
        /// Name of the module.
        name: String,
    },
    /// Create a module.
    Create {
        /// Name: letters, digits and underscores.
        name: String,
    },
    /// Delete a module and all its functions.
    Delete {
        /// Name of the module.
        name: String,
    },
    /// Rename a module.
    Update {
        /// Name of the module.
        name: String,
        /// New name.
        new_name: String,
    },
}

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

/// The side of a binding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Event,
    Sink,
}

#[cfg(test)]
mod tests {
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
            ("audit events --json", true),
            ("audit", false),
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
            ("up --mesh --workers 2 --admin 127.0.0.1:5100", true),
            ("up --workers 2", false),
            ("up --admin off --log-format json", true),
            ("up --tls-cert c", false),
            ("up --host http://h", false),
            ("--token t up", false),
            ("up --config services.toml", false),
            ("--config p fn invoke f", true),
        ];
        for (line, expected) in cases {
            let words = std::iter::once("fl").chain(line.split(' ')).map(OsString::from);
            assert_eq!(Arguments::read(words).is_ok(), expected, "{line}");
        }
    }
}
