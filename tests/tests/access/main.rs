//! Who may do what: runs each row of the table in docs/access.md against the REST API and the gRPC port.

mod rest;
mod rpc;
mod scene;
mod table;

use std::collections::BTreeSet;
use std::process::ExitCode;
use std::time::Duration;

use futures::StreamExt as _;
use tests::harness::run_alone;
use tests::{Mesh, Shape, cases, wait};

use scene::{Cast, Scene, Who};
use table::{Expected, Row};

/// What a call did: the text of its response, or the reason of its error.
pub type Outcome = Result<String, String>;

/// Attempts at once.
const AT_ONCE: usize = 8;
/// How long the mesh may be too busy for a call.
const OVERLOAD_TIMEOUT: Duration = Duration::from_secs(30);

fn main() -> ExitCode {
    let both = [Shape::ONE_PROCESS, Shape::SIX_PROCESSES];
    run_alone(vec![(&both, cases![access::each_row_of_the_table_holds, access::each_route_is_in_the_table])])
}

/// The port of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// The REST API.
    Rest,
    /// The gRPC port for clients.
    Grpc,
}

/// The cases.
mod access {
    use super::*;

    pub(super) async fn each_row_of_the_table_holds(shape: Shape) {
        let mesh = Mesh::start(shape).await;
        let cast = Cast::of(&mesh).await;
        let rows = table::rows();
        let attempts = rows.iter().flat_map(|row| {
            let ports = [(Port::Rest, &row.rest), (Port::Grpc, &row.grpc)];
            let ports = ports.into_iter().filter(|(_, route)| route.is_some());
            ports.flat_map(move |(port, _)| Who::ALL.map(|who| (row, port, who)))
        });
        let attempts: Vec<_> = attempts.map(|(row, port, who)| attempt(&cast, row, port, who)).collect();
        let count = attempts.len();
        let outcomes: Vec<_> = futures::stream::iter(attempts).buffer_unordered(AT_ONCE).collect().await;
        let wrong: Vec<_> = outcomes.into_iter().flatten().collect();
        assert!(wrong.is_empty(), "{} of {count} are wrong:\n{}", wrong.len(), wrong.join("\n"));
    }

    pub(super) async fn each_route_is_in_the_table(shape: Shape) {
        let mesh = Mesh::start(shape).await;
        let rows = table::rows();
        let listed = |route: fn(&Row) -> &Option<String>| -> BTreeSet<String> {
            rows.iter().filter_map(|row| route(row).clone()).collect()
        };
        let missing = |served: BTreeSet<String>, listed: &BTreeSet<String>| -> Vec<String> {
            served.difference(listed).cloned().collect()
        };
        let (rest, grpc) = (listed(|row| &row.rest), listed(|row| &row.grpc));
        assert_eq!(missing(rest::served(&mesh).await, &rest), Vec::<String>::new());
        assert_eq!(missing(rpc::served(&mesh).await, &grpc), Vec::<String>::new());
    }
}

/// Makes a call, and says what is wrong with its outcome.
async fn attempt(cast: &Cast, row: &Row, port: Port, who: Who) -> Option<String> {
    let expected = row.expected(who, port)?;
    // Without a token, nothing has to exist.
    let kind = if who == Who::Nobody { "code" } else { &row.kind };
    let scene = Scene::of(cast, kind, &row.action).await;
    // Only a few simulations run at once.
    let outcome = wait::until("there is room for the call", OVERLOAD_TIMEOUT, async || {
        let outcome = match port {
            Port::Rest => rest::call(cast.client(who), row, &scene).await,
            Port::Grpc => rpc::call(cast.connection(who), row, &scene).await,
        };
        Some(outcome).filter(|outcome| *outcome != Err("OVERLOADED".to_owned()))
    })
    .await;
    let is_right = match (&expected, &outcome) {
        (Expected::Yes, Ok(text)) => match row.action.as_str() {
            "list" | "sum up" => text.contains(&scene.marker),
            "redrive" => scene.letter.is_empty() || has_count(text, "redriven", 1),
            "delete" if !scene.letter.is_empty() && !text.is_empty() => has_count(text, "purged", 1),
            _ => true,
        },
        (Expected::Hidden, Ok(text)) => !text.contains(&scene.marker),
        (Expected::NoEffect, Ok(text)) => has_count(text, "redriven", 0) || has_count(text, "purged", 0),
        (Expected::Reason(expected), Err(reason)) => expected == reason,
        (_, _) => false,
    };
    let route = if port == Port::Rest { &row.rest } else { &row.grpc };
    (!is_right)
        .then(|| format!("{} {}, {route:?} as {who:?}: {outcome:?}, not {expected:?}", row.kind, row.action))
}

/// Whether a response in JSON or in the format of `Debug` has this count.
fn has_count(text: &str, name: &str, count: u32) -> bool {
    text.contains(&format!("\"{name}\":{count}")) || text.contains(&format!("{name}: {count}"))
}
