//! The scheduler as a process of its own.

use std::process::ExitCode;

use scheduler_svc::App;

fn main() -> ExitCode {
    mesh::run::run(App::start)
}
