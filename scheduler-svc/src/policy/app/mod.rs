//! APP scripts: their structure, their parser and their linter.

mod lint;
mod parse;
mod problem;
mod script;

pub use lint::lint;
pub use parse::{MAX_SCRIPT_BYTES, parse};
pub use problem::{Problem, ProblemKind};
pub use script::{
    Affinity, Block, DEFAULT_TAG, Followup, Item, Position, Script, Strategy, WorkerName, Workers,
};
