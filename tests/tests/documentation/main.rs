//! Runs the command blocks of the documentation as they are written.
//!
//! All of them run in a network namespace of this binary, so that the ports in the text are free. The blocks
//! of one page run one after the other, as a reader would type them. [`page`] documents the annotations of
//! blocks, and [`session`] the environment in which they run.

mod namespace;
mod page;
mod session;

use std::process::ExitCode;

use tests::harness::run_alone_unless;
use tests::servers::{Couch, Mosquitto};
use tests::{Shape, cases};

const TEXT: Shape = Shape { name: "documentation", processes: None, postgres: false };

fn main() -> ExitCode {
    let missing = namespace::enter();
    run_alone_unless(
        missing,
        vec![(
            &[TEXT],
            cases![
                pages::few_code_blocks_are_skipped,
                pages::readme,
                pages::app_scripts,
                pages::configuration,
                pages::events,
                pages::observability,
                pages::simulating,
                pages::functions,
            ],
        )],
    )
}

/// The cases.
mod pages {
    use super::{Couch, Mosquitto, Shape, page, session};

    /// The pages that the cases below run.
    const PAGES: [&str; 7] = [
        "README.md",
        "docs/app-scripts.md",
        "docs/configuration.md",
        "docs/events.md",
        "docs/observability.md",
        "docs/simulating.md",
        "guest/README.md",
    ];

    pub(super) async fn few_code_blocks_are_skipped(_: Shape) {
        let mut left_out = Vec::new();
        for path in page::all() {
            let commands = page::read(&path).into_iter().filter(page::Block::is_commands);
            let (out, run): (Vec<_>, Vec<_>) = commands.partition(|block| block.not_run.is_some());
            assert!(run.is_empty() || PAGES.contains(&path.as_str()), "no case runs the commands of {path}");
            // Its commands need clusters and other machines; tests/deployment runs what it can of them.
            if path != "docs/operations.md" {
                left_out.extend(out.iter().map(|block| format!("{path}:{}", block.line)));
            }
        }
        assert!(left_out.len() <= 8, "too many blocks are not run: {left_out:?}");
    }

    pub(super) async fn readme(_: Shape) {
        let (_broker, couch) = (Mosquitto::start_on(1883).await, Couch::start_on(5984).await);
        couch.create_database("greetings").await;
        session::run("README.md").await;
    }

    pub(super) async fn app_scripts(_: Shape) {
        session::run("docs/app-scripts.md").await;
    }

    pub(super) async fn configuration(_: Shape) {
        session::run("docs/configuration.md").await;
    }

    pub(super) async fn events(_: Shape) {
        let (_broker, couch) = (Mosquitto::start_on(1883).await, Couch::start_on(5984).await);
        couch.create_database("greetings").await;
        session::run("docs/events.md").await;
    }

    pub(super) async fn observability(_: Shape) {
        session::run("docs/observability.md").await;
    }

    pub(super) async fn simulating(_: Shape) {
        session::run("docs/simulating.md").await;
    }

    pub(super) async fn functions(_: Shape) {
        session::run("guest/README.md").await;
    }
}
