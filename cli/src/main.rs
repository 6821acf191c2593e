//! `fl`: the client of FunLess Mesh, and `fl up`, the whole mesh in one process.

// A command line tool talks to its user.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod args;
mod client;
mod functions;
mod modules;
mod profile;
mod up;

use std::process::ExitCode;

use args::{Arguments, Command};
use clap::Parser as _;
use client::Client;

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    mesh::run::install_crypto();
    match run(arguments).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn run(arguments: Arguments) -> anyhow::Result<()> {
    match arguments.command {
        Command::Up(options) => up::up(options).await,
        Command::Fn(command) => functions::run(command, &Client::new(&arguments.target)?).await,
        Command::Mod(command) => modules::run(command, &Client::new(&arguments.target)?).await,
    }
}
