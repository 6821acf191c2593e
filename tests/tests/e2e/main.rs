//! The user-visible behaviour, which is the same for both shapes.

mod bindings;
mod bodies;
mod command_line;
mod functions;
mod funless_cli;
mod grpc;
mod hostile;
mod names;
mod owners;
mod rest_table;
mod seen;

use std::process::ExitCode;

use tests::cases;
use tests::harness::run_shared;

fn main() -> ExitCode {
    run_shared(cases![
        functions::created_invoked_updated_deleted,
        functions::created_and_invoked_with_curl,
        functions::an_update_is_seen_by_the_next_invocation,
        functions::overlapping_updates_all_succeed,
        functions::an_unknown_revision_is_refused_at_once,
        functions::arguments_and_results_travel_byte_for_byte,
        functions::a_function_calls_the_web,
        functions::a_function_of_the_published_sdk_runs,
        functions::a_function_does_not_reach_the_mesh,
        functions::a_functions_own_errors_are_its_callers,
        functions::instances_share_nothing,
        functions::a_wasi_command_runs,
        functions::functions_follow_their_module,
        rest_table::modules,
        rest_table::functions,
        rest_table::updates_and_invocations,
        rest_table::scripts,
        rest_table::subjects,
        rest_table::routes_and_tokens,
        rest_table::documentation,
        owners::subjects_cannot_access_each_others_modules,
        owners::the_default_module_is_shared,
        owners::a_deleted_subject_is_refused_within_five_seconds,
        owners::tokens_are_kept_as_hashes_only,
        bindings::bindings_are_answered_one_by_one,
        bindings::bindings_that_cannot_be_read_store_nothing,
        hostile::guests_end_with_their_own_errors,
        hostile::a_spinning_guest_ends_at_its_limit,
        hostile::binaries_that_cannot_run_are_refused,
        hostile::uploads_are_bounded_while_they_stream,
        hostile::hostile_guests_do_not_disturb_others,
        names::names_that_are_refused,
        names::paths_that_name_nothing,
        names::the_longest_name_works,
        bodies::bodies_that_are_refused,
        bodies::deep_and_large_arguments,
        grpc::a_client_made_from_the_protos,
        grpc::invalid_scripts_are_refused,
        grpc::requests_without_a_token_are_refused,
        grpc::services_of_the_mesh_are_not_exposed,
        grpc::health_and_reflection_need_no_token,
        command_line::functions_from_the_command_line,
        command_line::modules_from_the_command_line,
        command_line::scripts_from_the_command_line,
        command_line::placements_from_the_command_line,
        command_line::workers_from_the_command_line,
        command_line::mistakes_are_explained,
        funless_cli::modules_as_in_funless,
        funless_cli::functions_as_in_funless,
        funless_cli::users_as_in_funless,
        funless_cli::profiles_as_in_funless,
        funless_cli::completions_and_manual_pages,
        seen::responses_report_their_cost,
        seen::costs_from_the_command_line,
        seen::a_panic_is_in_the_functions_log,
        seen::logs_are_read_from_all_workers,
    ])
}
