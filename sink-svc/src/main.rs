//! The sink as a process of its own.

use std::process::ExitCode;

use sink_svc::App;

fn main() -> ExitCode {
    mesh::run::run(App::start)
}
