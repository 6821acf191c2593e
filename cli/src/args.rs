//! The command line.

mod admin;
mod bench;
mod bindings;
mod cfg;
mod dead_letters;
mod functions;
mod local;
mod modules;
mod scripts;
mod templates;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, ArgMatches, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

pub use admin::{Admin, Users};
pub use bench::Bench;
pub use bindings::{Bindings, OfFunctions, Role};
pub use cfg::{Cfg, ProfileKey};
pub use dead_letters::{DeadLetters, LetterFilter, Letters};
pub use functions::{
    Create, FunctionName, FunctionPath, Functions, Invoke, Logs, New, Source, SourceFunctions, UpdateSource,
    Upload, UploadOptions,
};
pub use local::{Dev, Input, LocalFunctions, LocalLimits, Run, Test};
pub use modules::Modules;
pub use scripts::{Explain, Scripts, Simulate};
pub use templates::Templates;
pub use up::Up;

/// FunLess Mesh: serverless functions on WebAssembly.
#[derive(Debug, Parser)]
#[command(name = "fl", version, about, disable_version_flag = true)]
pub struct Arguments {
    /// Print the version.
    #[arg(long, short = 'v', visible_short_alias = 'V', action = ArgAction::Version)]
    version: (),
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
        // The environment and a profile are for all commands of a shell; a flag is for this one.
        let first_flag = |of: &ArgMatches, flags: &[&'static str]| {
            flags.iter().copied().find(|flag| of.value_source(flag) == Some(ValueSource::CommandLine))
        };
        let dev = matches.subcommand_matches("fn").and_then(|functions| functions.subcommand_matches("dev"));
        if let Some(dev) = dev.filter(|dev| !dev.get_flag("local"))
            && let Some(flag) = first_flag(dev, &["timeout", "memory", "strict", "allow_egress"])
        {
            let message = format!(
                "--{} is for --local; without it the function runs in a mesh, which has its own limits",
                flag.replace('_', "-")
            );
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
        if let Some(up) = matches.subcommand_matches("up")
            && let Some(flag) = first_flag(up, &["host", "token", "config"])
        {
            let message = format!(
                "--{flag} is for commands that use a mesh, and `fl up` runs one: addresses are --http and --grpc, \
                 its tokens are in the file `config` of --data-dir, and settings of services are --set and \
                 FUNLESS_<SERVICE>_<KEY>"
            );
            return Err(command.error(ErrorKind::ArgumentConflict, message));
        }
        Self::from_arg_matches(&matches)
    }
}

/// The mesh to talk to, and the credentials to use.
#[derive(Debug, Args)]
pub struct Target {
    /// Address of the REST API, such as http://127.0.0.1:4000 or 127.0.0.1:4000. Default: `api_host` of the profile.
    #[arg(long, short = 'H', global = true, env = "FL_API_HOST", value_name = "URL")]
    pub host: Option<String>,
    /// Bearer token. Default: `api_token` of the profile, or `admin_token` for commands that need an
    /// administrator.
    #[arg(long, global = true, env = "FL_API_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Profile: a file with the lines `api_host=`, `api_token=` and `admin_token=`. Default: .funless/config here or
    /// above, as written by `fl up`, or else ~/.fl/config.
    #[arg(long, global = true, env = "FL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the whole mesh on this machine.
    Up(Up),
    /// Write, manage and invoke functions.
    #[command(subcommand)]
    Fn(FunctionCommands),
    /// Manage modules.
    #[command(subcommand)]
    Mod(Modules),
    /// Manage the users of a mesh. Requires an administrator's token.
    #[command(subcommand, visible_alias = "a")]
    Admin(Admin),
    /// List the templates of functions, and get more.
    #[command(subcommand)]
    Template(Templates),
    /// Manage the profile: the address of a mesh, and tokens.
    #[command(subcommand, visible_alias = "c", alias = "config")]
    Cfg(Cfg),
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
    /// Invoke a function many times, and measure throughput and latency.
    Bench(Bench),
    /// Print a script that completes commands in a shell.
    Completions {
        /// Shell.
        shell: Shell,
    },
    /// Write the manual pages into a folder.
    Man {
        /// Folder.
        folder: PathBuf,
    },
    /// The former name of `fl audit events`.
    #[command(hide = true)]
    Conservation {
        /// Print the response as JSON.
        #[arg(long)]
        json: bool,
    },
}

/// The commands of `fl fn`.
#[derive(Debug, Subcommand)]
pub enum FunctionCommands {
    #[command(flatten)]
    Source(SourceFunctions),
    #[command(flatten)]
    OfMesh(Functions),
    #[command(flatten)]
    Local(LocalFunctions),
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Checks which command lines are accepted.
    fn check(cases: &[(&str, bool)]) {
        for (line, expected) in cases {
            let words = std::iter::once("fl").chain(line.split(' ')).map(OsString::from);
            assert_eq!(Arguments::read(words).is_ok(), *expected, "{line}");
        }
    }

    #[test]
    fn functions_run_here_are_limited_here() {
        check(&[
            ("fn copy m/f n/g", true),
            ("fn copy f", false),
            ("fn run", true),
            ("fn run f.wasm -i {} --timeout 5s --memory 64MiB --strict --trace", true),
            ("fn run f.wasm -a a=1 -a b=2 --allow-egress 10.0.0.1:80,h", true),
            ("fn run f.wasm -i {} -a a=1", false),
            ("fn run f.wasm --timeout 5", false),
            ("fn test", true),
            ("fn dev f --local -a a=1 --timeout 5s", true),
            ("fn dev f --timeout 5s", false),
            ("fn dev f --allow-egress h", false),
            ("bench f -c 4 -n 100 -d 5s --rate 10 --json", true),
            ("bench m/f -c 0", false),
            ("bench m/f -n 0", false),
            ("bench m/f --rate 0", false),
            ("bench", false),
        ]);
    }

    #[test]
    fn functions_have_the_commands_of_funless_and_more() {
        check(&[
            ("fn i f -a a=1 -a b=2 -H localhost:4000", true),
            ("fn invoke f --json {} --namespace m", true),
            ("fn invoke f --json {} --args a=1", false),
            ("fn up f f.wasm", true),
            ("fn update f f.wasm --tag t", true),
            ("fn update f f.wasm --update", false),
            ("fn update", true),
            ("fn update f", false),
            ("fn update -m m", false),
            ("fn u --no-wait -l rust", true),
            ("fn update f f.wasm -l rust", false),
            ("fn new f -l rust -t templates -o out", true),
            ("fn n f --lang js", true),
            ("fn new f", false),
            ("fn build f dir -l js -d out", true),
            ("fn b", true),
            ("fn build f", false),
            ("fn build f dir -l cobol", false),
            ("fn create f dir --language rust -m m", true),
            ("fn c", true),
            ("fn create f", false),
            ("template list -d dir", true),
            ("template pull https://example.org/t.git -o . -f", true),
            ("template pull", true),
            ("fn invoke f --script s --decision", true),
            ("fn invoke f --no-script", true),
            ("fn invoke f --script s --no-script", false),
            ("fn upload f f.wasm --script s --tag t", true),
        ]);
    }

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
            ("mod ls -c", true),
            ("a u c ann", true),
            ("config get api_host", true),
            ("c s api_token t", true),
            ("cfg get color", false),
            ("completions fish", true),
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
        check(&cases);
    }
}
