//! The table in docs/access.md.

use tests::process::repository;

use crate::Port;
use crate::scene::Who;

/// One row.
#[derive(Debug)]
pub struct Row {
    /// The kind of resource.
    pub kind: String,
    /// What is done to it.
    pub action: String,
    /// Method and path in the REST API.
    pub rest: Option<String>,
    /// Service and method without `funless.`.
    pub grpc: Option<String>,
    /// For each of [`Who::ALL`].
    cells: Vec<String>,
}

/// The expected outcome of a call.
#[derive(Debug, PartialEq, Eq)]
pub enum Expected {
    /// It succeeds; a list contains the resource.
    Yes,
    /// It succeeds, without the resource.
    Hidden,
    /// It succeeds and changes nothing.
    NoEffect,
    /// It fails for this reason.
    Reason(String),
}

impl Row {
    /// The expected outcome; `None` if the row does not apply.
    pub fn expected(&self, who: Who, port: Port) -> Option<Expected> {
        let index = Who::ALL.iter().position(|one| *one == who).expect("one of them");
        let (rest, grpc) =
            self.cells[index].split_once(" / ").unwrap_or((&self.cells[index], &self.cells[index]));
        Some(match if port == Port::Rest { rest } else { grpc } {
            "—" => return None,
            "yes" => Expected::Yes,
            "hidden" => Expected::Hidden,
            "no effect" => Expected::NoEffect,
            reason => Expected::Reason(reason.to_owned()),
        })
    }
}

/// All rows.
pub fn rows() -> Vec<Row> {
    let page = std::fs::read_to_string(repository().join("docs/access.md")).expect("the page");
    let lines = page.lines().filter(|line| line.starts_with("| "));
    let rows: Vec<_> = lines.skip(1).map(row).collect();
    assert!(rows.len() > 40, "the table has {} rows", rows.len());
    rows
}

fn row(line: &str) -> Row {
    let cells: Vec<_> = line.trim_matches('|').split('|').map(|cell| cell.trim().to_owned()).collect();
    let [kind, action, rest, grpc, cells @ ..] = &cells[..] else { panic!("not a row: {line}") };
    assert_eq!(cells.len(), Who::ALL.len(), "{line}");
    let route = |cell: &str| (cell != "—").then(|| cell.trim_matches('`').to_owned());
    Row {
        kind: kind.replace('`', ""),
        action: action.clone(),
        rest: route(rest),
        grpc: route(grpc),
        cells: cells.to_vec(),
    }
}
