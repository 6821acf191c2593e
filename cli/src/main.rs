//! `fl`: the client of FunLess Mesh, and `fl up`, the whole mesh in one process.

// A command line tool talks to its user.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod apply;
mod args;
mod audit;
mod bench;
mod bindings;
mod cfg;
mod client;
mod console;
mod dead_letters;
mod deploy;
mod functions;
mod local;
mod manual;
mod modules;
mod names;
mod output;
mod pipe;
mod profile;
mod project;
mod scripts;
mod states;
mod status;
mod table;
mod templates;
mod up;
mod users;
mod workers;

use std::process::ExitCode;

use args::{Admin, Arguments, Audits, Command, FunctionCommands, Role};
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
            output::note(&failure(&error));
            ExitCode::FAILURE
        }
    }
}

/// An error for people: what was wrong in particular if a mesh says so, and in the last line what was wrong in general.
fn failure(error: &anyhow::Error) -> String {
    let message = error.downcast_ref::<Refusal>().and_then(|refusal| refusal.message.as_ref());
    let message = message.map(|message| format!("{message}\n")).unwrap_or_default();
    format!("{message}{} {error:#}", output::styled(output::BAD, "fl: error:"))
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    let client = || Client::new(&arguments.target);
    match arguments.command {
        Command::Up(options) => up::up(options).await,
        Command::Fn(FunctionCommands::Source(command)) => functions::run_without_mesh(command).await,
        Command::Fn(FunctionCommands::OfMesh(command)) => functions::run(command, &client()?).await,
        Command::Fn(FunctionCommands::Local(command)) => local::run(command, &arguments.target).await,
        Command::Mod(command) => modules::run(command, &client()?).await,
        Command::Admin(Admin::User(command)) => {
            users::run(command, &Client::for_administrators(&arguments.target)?).await
        }
        Command::Admin(Admin::Deploy(command)) => deploy::run(command).await,
        Command::Template(command) => templates::run(command).await,
        Command::Cfg(command) => cfg::run(command, arguments.target.config.as_deref()),
        Command::Console { admin: false } => console::run(&client()?).await,
        Command::Console { admin: true } => {
            console::run(&Client::for_administrators(&arguments.target)?).await
        }
        Command::Bench(options) => bench::run(options, &client()?).await,
        Command::Completions { shell } => manual::complete(shell),
        Command::Man { folder, markdown } => manual::write_pages(&folder, markdown),
        Command::Script(command) => scripts::run(command, &client()?).await,
        Command::Status(options) => status::run(options, &arguments.target).await,
        Command::Workers(options) => {
            workers::run(options, &Client::for_administrators(&arguments.target)?).await
        }
        Command::Apply(options) => apply::run(&options, &client()?).await,
        Command::Events(command) => states::run(Role::Event, command, &client()?).await,
        Command::Sinks(command) => states::run(Role::Sink, command, &client()?).await,
        Command::DeadLetters(command) => dead_letters::run(command, &client()?).await,
        Command::Audit(Audits::Events(options)) | Command::Conservation(options) => {
            audit::run(options, &client()?).await
        }
    }
}
