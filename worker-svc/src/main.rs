//! The worker as a process of its own.

use std::process::ExitCode;

use worker_svc::{App, compile_if_asked};

fn main() -> ExitCode {
    compile_if_asked(std::env::args_os()).unwrap_or_else(|| mesh::run::run(App::start))
}
