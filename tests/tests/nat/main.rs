//! A worker that nobody can dial, as behind a NAT: in a network namespace whose only way out is a link to
//! this machine, and with its port on the namespace's loopback.

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
                cases::it_serves_what_nobody_could_send_it,
                cases::deadline_and_caller_stop_its_guests,
                cases::it_comes_back_with_its_link,
                cases::who_stops_finishes_what_runs,
            ],
        )],
    )
}
