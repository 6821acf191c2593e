//! One trace through every hop, as a collector receives it, the same in both shapes.

mod events;
mod paths;

use std::process::ExitCode;

use tests::harness::run_alone;
use tests::{Shape, cases};

fn main() -> ExitCode {
    let both: &[Shape] = &[Shape::ONE_PROCESS, Shape::SIX_PROCESSES];
    run_alone(vec![(
        both,
        cases![
            paths::a_warm_invocation,
            events::from_an_event_to_a_store,
            events::a_result_that_died_is_redriven,
            events::an_event_that_died_is_redriven,
        ],
    )])
}
