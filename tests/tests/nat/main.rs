//! A worker that cannot be dialled, as behind NAT. It runs in a network namespace that is linked only to this
//! machine, and listens on the namespace's loopback interface.

mod cases;
mod network;
mod site;

use std::process::ExitCode;

use tests::harness::run_alone_unless;
use tests::{Shape, cases};

const HIDDEN_WORKER: Shape = Shape { name: "hidden_worker", processes: Some(1), postgres: false };

fn main() -> ExitCode {
    run_alone_unless(
        network::missing(),
        vec![(
            &[HIDDEN_WORKER],
            cases![
                cases::an_unreachable_worker_serves_through_its_tunnel,
                cases::deadline_and_caller_stop_its_guests,
                cases::a_worker_rejoins_when_its_link_is_restored,
                cases::a_draining_service_finishes_running_invocations,
            ],
        )],
    )
}
