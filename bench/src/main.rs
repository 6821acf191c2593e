//! Measurements of FunLess Mesh, one JSON object a line.
//!
//! Build everything for release first: `cargo build --release --workspace`. These figures depend on
//! the machine and on what else it does; compare only what was measured in one run.

// A command line tool talks to its user.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod deliver;
mod events;
mod fl;
mod invoke;
mod policy;
mod traces;

use clap::Parser as _;

#[derive(Debug, clap::Parser)]
#[command(version, about = "Measurements of FunLess Mesh, one JSON object a line.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// `fl up`: start, memory, and warm invocations of `hello` through REST.
    Invoke(invoke::Options),
    /// From MQTT messages to documents, and the outbox by itself. Needs what `scripts/test` installs.
    Events(events::Options),
    /// Decisions of the scheduler by themselves, on one core.
    Policy(policy::Options),
    /// Warm invocations without traces, with 1 % of them, with all of them.
    Traces(traces::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    mesh::tls::install_crypto();
    match Arguments::parse().command {
        Command::Invoke(options) => invoke::run(&options).await,
        Command::Events(options) => events::run(&options).await,
        Command::Policy(options) => policy::run(&options),
        Command::Traces(options) => traces::run(&options).await,
    }
}
