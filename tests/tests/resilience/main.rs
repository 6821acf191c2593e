//! Stops, crashes and restarts. Each case has its own mesh, and the cases run one after the other, because
//! some of them measure time.

mod demo;
mod drain;
mod logs;
mod outages;
mod paused;
mod restart;
mod tokens;
mod workers;

use std::process::ExitCode;

use tests::harness::run_alone;
use tests::{Shape, cases};

/// The other half of the matrix: one process with PostgreSQL, and six processes with SQLite.
const ONE_ON_POSTGRES: Shape =
    Shape { name: "one_process_on_postgres", postgres: true, ..Shape::ONE_PROCESS };
const SIX_ON_SQLITE: Shape =
    Shape { name: "six_processes_on_sqlite", postgres: false, ..Shape::SIX_PROCESSES };
const TWO_WORKERS: Shape = Shape { name: "two_workers", processes: Some(2), ..Shape::SIX_PROCESSES };

fn main() -> ExitCode {
    let both = [Shape::ONE_PROCESS, Shape::SIX_PROCESSES];
    let all = [Shape::ONE_PROCESS, Shape::SIX_PROCESSES, ONE_ON_POSTGRES, SIX_ON_SQLITE];
    run_alone(vec![
        (
            &both,
            cases![
                demo::the_demo_answers,
                demo::the_next_steps_are_as_printed,
                tokens::a_weak_token_is_a_warning_at_each_start,
                drain::running_invocations_finish,
                drain::a_second_signal_stops_at_once,
                workers::a_caller_that_goes_away_stops_the_guest,
            ],
        ),
        (&all, cases![restart::everything_survives_a_restart]),
        (
            &[Shape::SIX_PROCESSES],
            cases![
                outages::callers_see_no_more_of_an_outage_than_they_have_to,
                restart::services_restart_in_any_order,
                restart::all_services_die_at_once,
                restart::a_killed_supervisor_leaves_nothing_behind,
                paused::a_paused_scheduler_holds_no_calls
            ],
        ),
        (
            &[TWO_WORKERS],
            cases![
                logs::a_clean_stop_loses_no_worker,
                logs::lines_in_a_file_are_json_and_name_their_service,
                workers::a_dying_worker_fails_only_what_it_ran,
                workers::the_load_goes_on_when_a_worker_dies,
                paused::a_paused_worker_fails_only_what_it_may_have_run
            ],
        ),
    ])
}
