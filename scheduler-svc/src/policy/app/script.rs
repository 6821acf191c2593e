//! What a script says.

/// The tag of the item that counts for tags without one of their own.
pub const DEFAULT_TAG: &str = "default";

/// A script that was read. Its items are in the order written, each tag stands once and is not empty,
/// and each item has a block at least.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// What is said for each tag.
    pub items: Vec<Item>,
}

/// What a script says for one tag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item {
    /// The tag; [`DEFAULT_TAG`] for all that are not named.
    pub tag: String,
    /// Tried in this order.
    pub blocks: Vec<Block>,
    /// What happens when no block gives a worker.
    pub followup: Followup,
    /// Where it stands.
    pub position: Position,
}

/// A group of workers and how one of them is taken. By default the first of all that is valid.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// Who may be taken.
    pub workers: Workers,
    /// Who of them is.
    pub strategy: Strategy,
    /// The most of a worker's memory that may be in use with the invocation, in percent.
    pub capacity_used: Option<u8>,
    /// A worker that runs as many invocations takes no more.
    pub max_concurrent_invocations: Option<u32>,
    /// What has to run, or must not run, on the worker. Each term stands once.
    pub affinity: Vec<Affinity>,
    /// Where it stands.
    pub position: Position,
}

/// The candidates of a block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Workers {
    /// All, in order of name.
    #[default]
    All,
    /// Those of these names, in this order. Each name stands once.
    Named(Vec<WorkerName>),
}

/// A worker's name in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerName {
    /// The name.
    pub name: String,
    /// Where it stands.
    pub position: Position,
}

/// Which of the valid candidates is taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The first.
    #[default]
    BestFirst,
    /// Any, with equal chance.
    Random,
    /// The one with the most memory available; among equals a warm one, then the least loaded.
    Platform,
}

/// What follows an item none of whose blocks gives a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Followup {
    /// Nothing: there is no worker.
    #[default]
    Fail,
    /// The blocks of the default item, once.
    Default,
}

/// One term of an affinity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity {
    /// The tag of functions.
    pub tag: String,
    /// At least one of them has to run on the worker; else none may.
    pub wanted: bool,
    /// Where it stands.
    pub position: Position,
}

/// A position in a text, both from 1. Zero in what was not read from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// The line.
    pub line: u32,
    /// The column.
    pub column: u32,
}

impl Position {
    /// The beginning of a text.
    pub const START: Self = Self { line: 1, column: 1 };
}

impl Script {
    /// The default policy, as a script: of all workers the one with the most memory available.
    pub fn platform() -> Self {
        let block = Block { strategy: Strategy::Platform, ..Block::default() };
        let item = Item { tag: DEFAULT_TAG.to_owned(), blocks: vec![block], ..Item::default() };
        Self { items: vec![item] }
    }

    /// The item that counts for functions with this tag.
    pub fn item_for(&self, tag: &str) -> Option<&Item> {
        self.item(tag).or_else(|| self.item(DEFAULT_TAG))
    }

    /// The item of this tag.
    pub fn item(&self, tag: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.tag == tag)
    }
}

impl Strategy {
    /// As scripts write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestFirst => "best-first",
            Self::Random => "random",
            Self::Platform => "platform",
        }
    }
}

impl Followup {
    /// As scripts write it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Fail => "fail",
            Self::Default => "default",
        }
    }
}

impl std::fmt::Display for Affinity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let not = if self.wanted { "" } else { "!" };
        write!(f, "{not}{}", self.tag)
    }
}
