//! The registry as a separate process.

use std::process::ExitCode;

use registry_svc::App;

fn main() -> ExitCode {
    mesh::run::run(App::start)
}
