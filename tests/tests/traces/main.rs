//! One trace through every hop, as a collector receives it, the same in both shapes.

mod paths;

use std::process::ExitCode;

use tests::harness::run_alone;
use tests::{Shape, cases};

fn main() -> ExitCode {
    let both: &[Shape] = &[Shape::ONE_PROCESS, Shape::SIX_PROCESSES];
    run_alone(vec![(both, cases![paths::a_warm_invocation])])
}
