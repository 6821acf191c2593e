//! Reads the text of a script.

#[cfg(test)]
mod properties;
mod read;
#[cfg(test)]
mod tests;
mod yaml;

use self::read::Reader;
use super::{Place, Problem, ProblemKind, Script};

/// The longest text that is read. A script is written by hand.
pub const MAX_SCRIPT_BYTES: usize = 256 << 10;

/// Problems that are told, of more there is only the number.
const MAX_PROBLEMS: usize = 1000;

const BEGIN: Place = Place { line: 1, column: 1 };

/// Reads a script, or says all that is wrong with it, in the order of the text.
pub fn parse(text: &str) -> Result<Script, Vec<Problem>> {
    if text.len() > MAX_SCRIPT_BYTES {
        let what = format!("the script is larger than the limit of {MAX_SCRIPT_BYTES} bytes");
        return Err(vec![Problem::new(ProblemKind::UnknownConstruct, None, None, BEGIN, what)]);
    }
    let mut reader = Reader::default();
    let items = reader.script(&yaml::load(text));
    let problems = reader.into_problems();
    if problems.is_empty() { Ok(Script { items }) } else { Err(told(problems)) }
}

/// The problems in the order of the text, the first ones if there are very many.
fn told(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| (problem.place.line, problem.place.column));
    if let Some(first_left_out) = problems.get(MAX_PROBLEMS) {
        let place = first_left_out.place;
        let more = problems.len() - MAX_PROBLEMS;
        problems.truncate(MAX_PROBLEMS);
        let what = format!("and {more} more problems from here on");
        problems.push(Problem::new(ProblemKind::UnknownConstruct, None, None, place, what));
    }
    problems
}
