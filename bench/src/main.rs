//! Benchmarks of FunLess Mesh. The output is one JSON object per line.
//!
//! Build everything for release first: `cargo build --release --workspace`. The figures depend on the machine
//! and its other load; compare only figures of the same run.

// A command-line tool prints to its user.
#![allow(clippy::print_stdout, clippy::print_stderr)]

mod deliver;
mod events;
mod fl;
mod hop;
mod invoke;
mod neighbours;
mod policy;
mod traces;

use clap::Parser as _;

#[derive(Debug, clap::Parser)]
#[command(version, about = "Benchmarks of FunLess Mesh. The output is one JSON object per line.")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// `fl up`: startup time, memory, and warm invocations of `hello` through REST.
    Invoke(invoke::Options),
    /// From MQTT messages to documents, and the outbox on its own. Needs the servers that `scripts/test`
    /// installs.
    Events(events::Options),
    /// The CPU time of a call from one service to another, within a process and over sockets.
    Hop(hop::Options),
    /// Invocations of one module, alone and beside another module that computes, logs or responds a lot.
    Neighbours(neighbours::Options),
    /// Placement decisions of the scheduler alone, on one core.
    Policy(policy::Options),
    /// Warm invocations with 0 %, 1 % and 100 % of the traces.
    Traces(traces::Options),
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    mesh::tls::install_crypto();
    match Arguments::parse().command {
        Command::Invoke(options) => invoke::run(&options).await,
        Command::Events(options) => events::run(&options).await,
        Command::Hop(options) => hop::run(&options),
        Command::Neighbours(options) => neighbours::run(&options).await,
        Command::Policy(options) => policy::run(&options),
        Command::Traces(options) => traces::run(&options).await,
    }
}
