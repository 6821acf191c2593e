//! The connector as a process of its own.

use std::process::ExitCode;

use connector_svc::App;

fn main() -> ExitCode {
    mesh::run::run(App::start)
}
