//! A mesh under load, Prometheus, and the queries of operators.

mod documented;
mod queries;
mod scene;

use std::process::ExitCode;

use tests::harness::run_alone;
use tests::{Shape, cases};

fn main() -> ExitCode {
    let both: &[Shape] = &[Shape::ONE_PROCESS, Shape::SIX_PROCESSES];
    run_alone(vec![(both, cases![scene::admin_endpoints_answer])])
}
