//! Problems of scripts.

use super::script::Position;

/// The most problems that are listed; of more only the number is given.
pub(super) const MAX_PROBLEMS: usize = 1000;

/// An error or a warning about a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The kind.
    pub kind: ProblemKind,
    /// In words, with the kind, the tag, the block and the line.
    pub message: String,
    /// The tag of the item.
    pub tag: Option<String>,
    /// The number of the block in its item, from 1.
    pub block: Option<u32>,
    /// The position in the text.
    pub position: Position,
}

/// The kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProblemKind {
    /// The text is not valid YAML, or has something unexpected.
    UnknownConstruct,
    /// An item has no blocks.
    NoBlocks,
    /// A block names no workers.
    NoBlockWorkers,
    /// A followup is neither `default` nor `fail`.
    UnknownFollowup,
    /// Each worker that is valid for the block is valid for a block before it. A warning.
    UnreachableBlock,
    /// No worker has this name now. A warning.
    UnknownWorker,
    /// An affinity that no worker can satisfy. A warning.
    ContradictoryAffinity,
    /// A limit that no worker can satisfy. A warning.
    NeverValid,
}

impl Problem {
    /// A problem at a position in the block with this number of the item with this tag.
    pub(super) fn new(
        kind: ProblemKind,
        tag: Option<&str>,
        block: Option<u32>,
        position: Position,
        what: impl std::fmt::Display,
    ) -> Self {
        let tag_words = tag.map(|tag| format!("tag {}, ", quoted(tag))).unwrap_or_default();
        let block_words = block.map(|block| format!("block {block}, ")).unwrap_or_default();
        let message = format!("{}: {tag_words}{block_words}line {}: {what}", kind.as_str(), position.line);
        Self { kind, message, tag: tag.map(str::to_owned), block, position }
    }
}

impl ProblemKind {
    /// Its name in the API.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::UnknownConstruct => "unknown_construct",
            Self::NoBlocks => "no_blocks",
            Self::NoBlockWorkers => "no_block_workers",
            Self::UnknownFollowup => "unknown_followup",
            Self::UnreachableBlock => "unreachable_block",
            Self::UnknownWorker => "unknown_worker",
            Self::ContradictoryAffinity => "contradictory_affinity",
            Self::NeverValid => "never_valid",
        }
    }
}

/// The problems in the order of the text. Of too many only the first.
pub(super) fn in_order(mut problems: Vec<Problem>) -> Vec<Problem> {
    problems.sort_by_key(|problem| (problem.position.line, problem.position.column));
    if let Some(Problem { kind, position, .. }) = problems.get(MAX_PROBLEMS) {
        let what = format!("and {} more problems from here on", problems.len() - MAX_PROBLEMS);
        let rest = Problem::new(*kind, None, None, *position, what);
        problems.truncate(MAX_PROBLEMS);
        problems.push(rest);
    }
    problems
}

/// A quoted text of a script, shortened if it is long.
pub(super) fn quoted(text: &str) -> String {
    const MOST_CHARS: usize = 60;
    match text.char_indices().nth(MOST_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}
