//! The command line.

mod admin;
mod bindings;
mod cfg;
mod dead_letters;
mod functions;
mod modules;
mod scripts;
mod up;

use std::ffi::OsString;
use std::path::PathBuf;

use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{ArgAction, Args, CommandFactory as _, FromArgMatches as _, Parser, Subcommand};
use clap_complete::Shell;

pub use admin::{Admin, Users};
pub use bindings::{Bindings, OfFunctions, Role};
pub use cfg::{Cfg, ProfileKey};
pub use dead_letters::{DeadLetters, LetterFilter, Letters};
pub use functions::{Functions, Invoke, Logs, Upload};
pub use modules::Modules;
pub use scripts::{Explain, Scripts, Simulate};
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
    /// Address of the REST API, such as http://127.0.0.1:4000 or 127.0.0.1:4000. Default: `api_host` of the profile.
    #[arg(long, short = 'H', global = true, env = "FL_API_HOST", value_name = "URL")]
    pub host: Option<String>,
    /// Bearer token. Default: `api_token` of the profile, or `admin_token` for commands that need an
    /// administrator.
    #[arg(long, global = true, env = "FL_API_TOKEN", value_name = "TOKEN", hide_env_values = true)]
    pub token: Option<String>,
    /// Profile: a file with the lines `api_host=`, `api_token=` and `admin_token=`. Default: .funless/config, as written
    /// by `fl up`, or else ~/.fl/config.
    #[arg(long, global = true, env = "FL_CONFIG", value_name = "FILE")]
    pub config: Option<PathBuf>,
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
    /// Manage the users of a mesh. Requires an administrator's token.
    #[command(subcommand, visible_alias = "a")]
    Admin(Admin),
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
            ("fn i f -a a=1 -a b=2 -H localhost:4000", true),
            ("fn invoke f --json {} --namespace m", true),
            ("fn invoke f --json {} --args a=1", false),
            ("fn up f f.wasm", true),
            ("fn update f f.wasm --tag t", true),
            ("fn update f f.wasm --update", false),
            ("mod ls -c", true),
            ("a u c ann", true),
            ("config get api_host", true),
            ("c s api_token t", true),
            ("cfg get color", false),
            ("completions fish", true),
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
