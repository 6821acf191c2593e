//! A mesh that works, a Prometheus that scrapes it, and what operators ask it.

mod documented;
mod queries;
mod scene;

use std::process::ExitCode;

use tests::harness::run_alone;
use tests::{Shape, cases};

fn main() -> ExitCode {
    let both: &[Shape] = &[Shape::ONE_PROCESS, Shape::SIX_PROCESSES];
    run_alone(vec![(both, cases![scene::what_operators_ask_is_answered])])
}
