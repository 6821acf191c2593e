//! Development tasks: `cargo xtask --help`.
//!
//! - `dashboards`: the Grafana dashboards
//! - `docs`: the API documentation
//! - `guests`: the functions in `guest/`
//! - `generated`: files that are committed, and written from the code
//! - `workspace`: where the files are, and running `cargo`

// A command line tool talks to its user.
#![allow(clippy::print_stdout)]

mod chart;
mod dashboards;
mod docs;
mod generated;
mod guests;
mod workspace;

use clap::Parser as _;

use self::generated::Generated;

/// Development tasks
#[derive(Debug, clap::Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
enum Task {
    /// Write deploy/grafana/dashboards from xtask/src/dashboards
    Dashboards {
        /// Write nothing; fail unless the files are up to date
        #[arg(long)]
        check: bool,
    },
    /// Write deploy/helm and the rules for the Prometheus Operator from deploy/k8s and deploy/prometheus
    Chart {
        /// Write nothing; fail unless the files are up to date
        #[arg(long)]
        check: bool,
    },
    /// Write gateway-svc/openapi.json from the gateway's routes
    Openapi {
        /// Write nothing; fail unless the file is up to date
        #[arg(long)]
        check: bool,
    },
    /// Compile the functions in guest/ to WebAssembly, into target/guests
    ///
    /// Either of two toolchains will do: rustup's with the target wasm32-unknown-unknown, or Debian's rustc-web, which
    /// compiles the standard library as well (a minute or two, once).
    Guests {
        /// Compile nothing; fail unless guest/hello.wasm was built from its present source
        #[arg(long, conflicts_with = "update_hello")]
        check: bool,
        /// Replace the committed guest/hello.wasm by the result
        #[arg(long)]
        update_hello: bool,
    },
    /// Build the API documentation of the libraries into target/doc; warnings are errors
    Docs,
}

fn main() -> anyhow::Result<()> {
    if docs::is_rustdoc() {
        return docs::document();
    }
    match Task::parse() {
        Task::Dashboards { check } => write_or_check(generated::dashboards()?, check),
        Task::Chart { check } => write_or_check(generated::chart()?, check),
        Task::Openapi { check } => write_or_check(vec![generated::openapi()?], check),
        Task::Guests { check: true, .. } => guests::check_hello(),
        Task::Guests { update_hello: true, .. } => guests::update_hello(),
        Task::Guests { .. } => guests::build(),
        Task::Docs => docs::build(),
    }
}

fn write_or_check(files: Vec<Generated>, check: bool) -> anyhow::Result<()> {
    files.iter().try_for_each(|file| if check { file.check() } else { file.write() })
}
