//! What is wrong or doubtful in a script.

use super::script::Position;

/// Problems that are told; of more there is only the number.
pub(super) const MAX_PROBLEMS: usize = 1000;

/// Something wrong or doubtful in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// What kind of problem it is.
    pub kind: ProblemKind,
    /// In words, with the kind, the tag, the block and the line.
    pub message: String,
    /// The tag of the item that it is in.
    pub tag: Option<String>,
    /// The number of the block in its item, from 1.
    pub block: Option<u32>,
    /// Where it stands.
    pub position: Position,
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
    /// A block never gives a worker that the blocks before it do not give. Only a warning.
    UnreachableBlock,
    /// No worker has this name now. Only a warning.
    UnknownWorker,
    /// An affinity that no worker can have. Only a warning.
    ContradictoryAffinity,
    /// A limit that no worker can keep. Only a warning.
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
    /// What clients call it.
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

/// The problems in the order of the text, the first ones if there are very many.
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

/// A text of a script in quotes, cut where it would fill a message.
pub(super) fn quoted(text: &str) -> String {
    const MOST_CHARS: usize = 60;
    match text.char_indices().nth(MOST_CHARS) {
        None => format!("{text:?}"),
        Some((end, _)) => format!("{:?}...", &text[..end]),
    }
}
