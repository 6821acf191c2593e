//! The console in a real browser, as an administrator, a subject and nobody. The cases share a mesh.

mod accessibility;
mod administrator;
mod dead_letters;
mod site;
mod subjects;
mod without_scripts;

use std::process::ExitCode;

use tests::harness::run_shared_on;
use tests::{Shape, cases};

fn main() -> ExitCode {
    run_shared_on(
        &[Shape::ONE_PROCESS],
        cases![
            administrator::from_signing_in_to_signing_out,
            administrator::texts_of_functions_are_no_markup,
            subjects::see_what_is_theirs,
            subjects::forged_requests_are_refused,
            dead_letters::are_redriven_and_purged,
            without_scripts::pages_read_and_forms_work,
            accessibility::no_page_breaks_a_rule,
        ],
    )
}
