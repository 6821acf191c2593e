//! Reads the text of a script.

use super::{Place, Script};

/// Something wrong or doubtful in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// In words.
    pub message: String,
    /// The tag of the item that it is in.
    pub tag: Option<String>,
    /// The number of the block in its item, from 1.
    pub block: Option<u32>,
    /// Where it stands.
    pub place: Place,
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The text is no YAML, or something stands where something else was expected.
    UnknownConstruct,
    /// An item has no blocks.
    NoBlocks,
    /// A block names no workers.
    NoBlockWorkers,
    /// A followup is neither `default` nor `fail`.
    UnknownFollowup,
}

/// Reads a script, or says all that is wrong with it.
pub fn parse(_text: &str) -> Result<Script, Vec<Problem>> {
    Err(Vec::new())
}
