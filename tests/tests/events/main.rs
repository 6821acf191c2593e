//! Events in, results out. Each case has its own mesh and servers, and the cases run one after the other,
//! because some of them kill parts that others would use.

mod chaos;
mod commands;
mod flow;
mod kinds;
mod outage;
mod paused;
mod poison;

use std::process::ExitCode;

use tests::harness::run_alone;
use tests::{Shape, cases};

const TWO_WORKERS: Shape = Shape { name: "two_workers", processes: Some(2), ..Shape::SIX_PROCESSES };

fn main() -> ExitCode {
    let both = [Shape::ONE_PROCESS, Shape::SIX_PROCESSES];
    run_alone(vec![
        (
            &both,
            cases![
                flow::bindings_of_funless_work_unchanged,
                flow::unavailable_brokers_and_stores_are_retried,
                flow::bindings_are_added_changed_and_removed,
                kinds::from_cron_to_a_webhook,
                kinds::from_nats_to_nats,
                poison::a_poison_message_blocks_no_other_and_can_be_redriven,
                outage::an_unavailable_store_delays_no_others_and_loses_nothing,
                commands::events_and_sinks_from_the_command_line,
            ],
        ),
        (
            &[Shape::ONE_PROCESS],
            cases![flow::secrets_are_not_on_the_disk, flow::a_mesh_that_dies_loses_nothing],
        ),
        (
            &[Shape::SIX_PROCESSES],
            cases![
                chaos::events_survive_the_death_of_everything,
                chaos::events_keep_their_identity_without_a_key,
            ],
        ),
        (&[TWO_WORKERS], cases![paused::events_survive_pauses]),
    ])
}
