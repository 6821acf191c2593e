//! Scripts after parsing.

/// The tag of the item for functions whose tag has no item.
pub const DEFAULT_TAG: &str = "default";

/// A script. Each tag has at most one item and is not empty; each item has at least one block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    /// The items, in the order written.
    pub items: Vec<Item>,
}

/// The blocks for one tag.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Item {
    /// The tag; [`DEFAULT_TAG`] for functions whose tag has no item.
    pub tag: String,
    /// The blocks, tried in this order.
    pub blocks: Vec<Block>,
    /// What to do if no block gives a worker.
    pub followup: Followup,
    /// The position in the text.
    pub position: Position,
}

/// Candidates, the conditions on them, and how one is selected. By default the first valid worker.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Block {
    /// The candidates.
    pub workers: Workers,
    /// How a valid candidate is selected.
    pub strategy: Strategy,
    /// The most of a worker's memory that may be in use with the invocation, in percent.
    pub capacity_used: Option<u8>,
    /// A worker that runs as many invocations is not valid.
    pub max_concurrent_invocations: Option<u32>,
    /// The tags that must or must not run on the worker. Each term occurs once.
    pub affinity: Vec<Affinity>,
    /// The position in the text.
    pub position: Position,
}

/// The candidates of a block.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Workers {
    /// All workers, ordered by name.
    #[default]
    All,
    /// The workers with these names, in this order. Each name occurs once.
    Named(Vec<WorkerName>),
}

/// A worker's name in a script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkerName {
    /// The name.
    pub name: String,
    /// The position in the text.
    pub position: Position,
}

/// How a valid candidate is selected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Strategy {
    /// The first one.
    #[default]
    BestFirst,
    /// A random one, with equal chance.
    Random,
    /// The one with the most memory available; among equals a warm one, then the least loaded.
    Platform,
}

/// What to do if no block of an item gives a worker.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Followup {
    /// Refuse the invocation.
    #[default]
    Fail,
    /// Try the blocks of the default item, once.
    Default,
}

/// One term of an affinity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Affinity {
    /// A tag of functions.
    pub tag: String,
    /// True: at least one of them must run on the worker. False: none may.
    pub wanted: bool,
    /// The position in the text.
    pub position: Position,
}

/// A position in a text, from 1. Zero in scripts that were not parsed.
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
    /// The default policy as a script: the worker with the most memory available.
    pub fn platform() -> Self {
        let block = Block { strategy: Strategy::Platform, ..Block::default() };
        let item = Item { tag: DEFAULT_TAG.to_owned(), blocks: vec![block], ..Item::default() };
        Self { items: vec![item] }
    }

    /// The item for functions with this tag: their own, else the default.
    pub fn item_for(&self, tag: &str) -> Option<&Item> {
        self.item(tag).or_else(|| self.item(DEFAULT_TAG))
    }

    /// The item with this tag.
    pub fn item(&self, tag: &str) -> Option<&Item> {
        self.items.iter().find(|item| item.tag == tag)
    }
}

impl Strategy {
    /// The word in scripts.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BestFirst => "best-first",
            Self::Random => "random",
            Self::Platform => "platform",
        }
    }
}

impl Followup {
    /// The word in scripts.
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
