//! Placement on four real workers with different names, tags and memory, with scripts that choose among them.

mod replay;
mod rules;
mod site;

use std::process::ExitCode;

use tests::harness::run_alone;
use tests::{Shape, cases};

/// The mesh that the other workers join.
const FOUR_WORKERS: Shape = Shape { name: "four_workers", processes: Some(1), postgres: false };

fn main() -> ExitCode {
    run_alone(vec![(
        &[FOUR_WORKERS],
        cases![
            rules::strategies_and_followups,
            rules::capacity_and_concurrency,
            rules::affinity,
            rules::a_function_has_a_script_of_its_own,
            replay::a_recorded_load_is_placed_as_it_was,
        ],
    )])
}
