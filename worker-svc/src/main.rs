//! The worker as a process of its own.

use std::process::ExitCode;

use worker_svc::App;

fn main() -> ExitCode {
    mesh::run::run(App::start)
}
