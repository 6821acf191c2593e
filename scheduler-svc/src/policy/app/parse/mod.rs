//! Reads the text of a script.

#[cfg(test)]
mod properties;
mod read;
#[cfg(test)]
mod tests;
mod yaml;

use self::read::Reader;
use super::problem::{Problem, ProblemKind, in_order};
use super::script::{Position, Script};

/// The longest script, in bytes. Scripts are written by hand.
pub const MAX_SCRIPT_BYTES: usize = 256 << 10;

/// Reads a script, or gives its problems in the order of the text. Of too many only the first.
pub fn parse(text: &str) -> Result<Script, Vec<Problem>> {
    if text.len() > MAX_SCRIPT_BYTES {
        let what = format!("the script is larger than the limit of {MAX_SCRIPT_BYTES} bytes");
        return Err(vec![Problem::new(ProblemKind::UnknownConstruct, None, None, Position::START, what)]);
    }
    let mut reader = Reader::default();
    let items = reader.script(&yaml::load(text));
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(Script { items }) } else { Err(in_order(problems)) }
}
