//! The registry as a process of its own.

use std::process::ExitCode;

use registry_svc::App;

fn main() -> ExitCode {
    mesh::run::run(App::start)
}
