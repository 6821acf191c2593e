//! An index of workers by available memory: a tree in which each node has the best key below it. A change costs a
//! few comparisons per level.

/// The children of a node, and the workers of a node of the lowest level.
pub(super) const FAN_OUT: usize = 16;

/// What is known of the best worker below a node: the most memory available, and the fewest running invocations
/// of workers with that much.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key {
    pub(super) available: u64,
    /// The complement of the number of running invocations, so that the greatest is the best.
    idle: u32,
}

/// The keys of groups of workers, and of groups of groups.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct MemoryIndex {
    /// The lowest level first. The last one has one key. Without workers there are no levels.
    levels: Vec<Vec<Key>>,
}

/// A node of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    level: usize,
    index: usize,
}

impl Key {
    pub(super) fn new(available: u64, running: u32) -> Self {
        Self { available, idle: !running }
    }

    pub(super) fn running(self) -> u32 {
        !self.idle
    }
}

impl MemoryIndex {
    /// An index of groups of workers with these keys.
    pub(super) fn new(groups: Vec<Key>) -> Self {
        let mut levels = Vec::from_iter((!groups.is_empty()).then_some(groups));
        while let Some(below) = levels.last().filter(|level| level.len() > 1) {
            levels.push(below.chunks(FAN_OUT).map(best).collect());
        }
        Self { levels }
    }

    /// A group of workers has a new key.
    pub(super) fn update(&mut self, group: usize, key: Key) {
        let (mut index, mut key) = (group, key);
        for level in 0..self.levels.len() {
            if self.levels[level][index] == key {
                return;
            }
            self.levels[level][index] = key;
            let first = index / FAN_OUT * FAN_OUT;
            let end = self.levels[level].len().min(first + FAN_OUT);
            key = best(&self.levels[level][first..end]);
            index /= FAN_OUT;
        }
    }

    /// The node that all workers are below. `None`: there are no workers.
    pub(super) fn root(&self) -> Option<Node> {
        let level = self.levels.len().checked_sub(1)?;
        Some(Node { level, index: 0 })
    }

    pub(super) fn key(&self, node: Node) -> Key {
        self.levels[node.level][node.index]
    }

    /// The nodes below a node. `None`: workers are.
    pub(super) fn children(&self, node: Node) -> Option<impl Iterator<Item = Node> + Clone + use<>> {
        let level = node.level.checked_sub(1)?;
        let first = node.index * FAN_OUT;
        let end = self.levels[level].len().min(first + FAN_OUT);
        Some((first..end).map(move |index| Node { level, index }))
    }
}

impl Node {
    /// The index of the first worker below it.
    pub(super) fn first_worker(self) -> usize {
        (0..=self.level).fold(self.index, |index, _| index * FAN_OUT)
    }
}

fn best(keys: &[Key]) -> Key {
    keys.iter().copied().max().unwrap_or_default()
}
