//! Traces as a collector receives them, with the same structure for both shapes.

mod events;
mod outage;
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
            paths::an_update_and_then_a_cold_invocation,
            paths::a_guest_that_calls_out,
            paths::a_failing_guest,
            paths::a_dispatch_that_is_retried,
            paths::an_unsampled_failure,
            outage::a_collector_that_is_away,
            outage::a_collector_that_hangs,
            events::from_an_event_to_a_store,
            events::a_dead_lettered_result_is_redriven,
            events::a_dead_lettered_event_is_redriven,
        ],
    )])
}
