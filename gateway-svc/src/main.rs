//! The gateway as a process of its own.

use std::process::ExitCode;

use gateway_svc::App;

fn main() -> ExitCode {
    mesh::run::run(App::start)
}
