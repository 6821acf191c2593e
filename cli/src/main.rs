//! `fl`: the client of FunLess Mesh, and `fl up`, the whole mesh in one process.

// A command line tool talks to its user.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod audit;
mod bindings;
mod cfg;
mod client;
mod dead_letters;
mod functions;
mod manual;
mod modules;
mod names;
mod pipe;
mod profile;
mod scripts;
mod states;
mod table;
mod up;
mod users;
mod workers;

use std::process::ExitCode;

use args::{Admin, Arguments, Audits, Command, Role};
use client::{Client, Refusal};

fn main() -> ExitCode {
    // `fl up` runs a worker, which compiles functions in processes of its own program.
    worker_svc::compile_if_asked(std::env::args_os()).unwrap_or_else(run_command)
}

#[tokio::main]
async fn run_command() -> ExitCode {
    let arguments = Arguments::read(std::env::args_os()).unwrap_or_else(|error| error.exit());
    mesh::tls::install_crypto();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            if let Some(message) =
                error.downcast_ref::<Refusal>().and_then(|refusal| refusal.message.as_ref())
            {
                eprintln!("{message}");
            }
            eprintln!("fl: error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = || Client::new(&arguments.target);
    match arguments.command {
        Command::Up(options) => up::up(options).await,
        Command::Fn(command) => functions::run(command, &client()?).await,
        Command::Mod(command) => modules::run(command, &client()?).await,
        Command::Admin(Admin::User(command)) => {
            users::run(command, &Client::for_administrators(&arguments.target)?).await
        }
        Command::Cfg(command) => cfg::run(command, arguments.target.config.as_deref()),
        Command::Completions { shell } => manual::complete(shell),
        Command::Man { folder } => manual::write_pages(&folder),
        Command::Script(command) => scripts::run(command, &client()?).await,
        Command::Workers(options) => {
            workers::run(options, &Client::for_administrators(&arguments.target)?).await
        }
        Command::Events(command) => states::run(Role::Event, command, &client()?).await,
        Command::Sinks(command) => states::run(Role::Sink, command, &client()?).await,
        Command::DeadLetters(command) => dead_letters::run(command, &client()?).await,
        Command::Audit(Audits::Events { json }) | Command::Conservation { json } => {
            audit::run(json, &client()?).await
        }
    }
}
