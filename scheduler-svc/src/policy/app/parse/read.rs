//! Turns a tree of YAML nodes into a script.

use std::collections::{HashMap, HashSet};

use super::yaml::{Broken, FOLLOWUP, Loaded, Node, Value};
use crate::policy::app::problem::{Problem, ProblemKind, quoted};
use crate::policy::app::script::{Affinity, Block, Followup, Item, Position, Strategy, WorkerName, Workers};

/// More than anybody writes, and few enough to evaluate for each invocation.
const MAX_BLOCKS: usize = 256;

/// The longest tag that a function can have.
const MAX_TAG_CHARS: usize = 160;

const ALL_WORKERS: &str = "*";

/// Reads nodes. Continues after problems to find all of them; the script is then of no other use.
#[derive(Default)]
pub(super) struct Reader {
    problems: Vec<Problem>,
    /// The tags of items, with their lines.
    tags: HashMap<String, u32>,
    /// The tag of the current item.
    tag: Option<String>,
    /// The number of the current block.
    block: Option<u32>,
}

impl Reader {
    /// Reads a script, or the complete items of one whose YAML is broken.
    pub fn script(&mut self, Loaded { root, broken }: &Loaded<'_>) -> Vec<Item> {
        let expected = "a list of items, each beginning with \"- \", a tag and its blocks";
        let mut items = Vec::new();
        match root.as_ref().map(|root| (root, &root.value)) {
            Some((_, Value::List(nodes))) if !nodes.is_empty() => {
                items = nodes.iter().map(|node| self.item(node)).collect();
            }
            None | Some((_, Value::List(_) | Value::Null)) if broken.is_none() => {
                self.unknown(Position::START, format!("the script is empty; expected {expected}"));
            }
            None | Some((_, Value::List(_))) => {}
            Some((root, _)) => self.expected(expected, root),
        }
        if let Some(Broken { position, what, tag, block }) = broken {
            let kind = ProblemKind::UnknownConstruct;
            self.problems.push(Problem::new(kind, tag.as_deref(), *block, *position, what));
        }
        items
    }

    /// The problems that were found.
    pub fn into_problems(self) -> Vec<Problem> {
        self.problems
    }

    fn item(&mut self, node: &Node<'_>) -> Item {
        (self.tag, self.block) = (None, None);
        let mut item = Item { position: node.position, ..Item::default() };
        let Value::Map(map) = &node.value else {
            self.expected("an item: a tag with its blocks", node);
            return item;
        };
        let tag = map.iter().find_map(|(key, _)| key.text().filter(|key| *key != FOLLOWUP));
        self.tag = tag.map(|tag| tag.chars().take(MAX_TAG_CHARS).collect());
        for (key, position, value) in self.entries(map) {
            self.block = None;
            if key == FOLLOWUP {
                item.followup = self.followup(value);
            } else if tag == Some(key) {
                item.tag = self.item_tag(key, position);
                item.blocks = self.blocks(value);
            } else {
                let key = quoted(key);
                self.unknown(
                    position,
                    format!("unknown key {key}; an item has one tag, and may have a followup"),
                );
            }
        }
        if tag.is_none() && map.iter().all(|(key, _)| key.text().is_some()) {
            self.unknown(node.position, "the item has no tag; expected a tag with its blocks");
        }
        item
    }

    fn item_tag(&mut self, tag: &str, position: Position) -> String {
        if let Err(what) = check_tag(tag) {
            self.unknown(position, what);
        } else if let Some(line) = self.tags.get(tag) {
            self.unknown(position, format!("the tag has an item already, on line {line}"));
        } else {
            self.tags.insert(tag.to_owned(), position.line);
        }
        tag.to_owned()
    }

    fn followup(&mut self, node: &Node<'_>) -> Followup {
        match node.text() {
            Some("default") => Followup::Default,
            Some("fail") => Followup::Fail,
            found => {
                let expected = "default or fail";
                let what = match found {
                    Some(text) => format!("unknown followup {}; expected {expected}", quoted(text)),
                    None => format!("expected a followup: {expected}; {}", found_words(node)),
                };
                self.problem(ProblemKind::UnknownFollowup, node.position, what);
                Followup::Fail
            }
        }
    }

    fn blocks(&mut self, node: &Node<'_>) -> Vec<Block> {
        match &node.value {
            Value::List(blocks) if blocks.len() > MAX_BLOCKS => {
                self.unknown(node.position, format!("an item has at most {MAX_BLOCKS} blocks"));
                Vec::new()
            }
            Value::List(blocks) if !blocks.is_empty() => {
                blocks.iter().zip(1..).map(|(block, number)| self.block(block, number)).collect()
            }
            Value::List(_) | Value::Null => {
                let what = "the tag has no blocks; expected a list of them";
                self.problem(ProblemKind::NoBlocks, node.position, what);
                Vec::new()
            }
            _ => {
                self.expected("a list of blocks, each beginning with \"- \"", node);
                Vec::new()
            }
        }
    }

    fn block(&mut self, node: &Node<'_>, number: u32) -> Block {
        self.block = Some(number);
        let mut block = Block { position: node.position, ..Block::default() };
        let Value::Map(map) = &node.value else {
            self.expected("a block, such as workers: \"*\"", node);
            return block;
        };
        let entries = self.entries(map);
        if !entries.iter().any(|(key, ..)| *key == "workers") {
            self.no_workers(node.position);
        }
        for (key, position, value) in entries {
            match key {
                "workers" => block.workers = self.workers(value),
                "strategy" => block.strategy = self.strategy(value),
                "invalidate" => {
                    (block.capacity_used, block.max_concurrent_invocations) = self.invalidate(value);
                }
                "affinity" => block.affinity = self.affinity(value),
                _ => {
                    let key = quoted(key);
                    let expected = "a block has workers, and may have strategy, invalidate and affinity";
                    self.unknown(position, format!("unknown key {key}; {expected}"));
                }
            }
        }
        block
    }

    fn workers(&mut self, node: &Node<'_>) -> Workers {
        match &node.value {
            Value::Text(text) if text == ALL_WORKERS => Workers::All,
            Value::List(names) if !names.is_empty() => {
                let mut seen = HashSet::new();
                let names = names.iter().filter_map(|name| self.worker_name(name));
                Workers::Named(names.filter(|named| seen.insert(named.name.clone())).collect())
            }
            Value::List(_) | Value::Null => {
                self.no_workers(node.position);
                Workers::All
            }
            _ => {
                self.expected("\"*\" or a list of names, such as [worker1, worker2]", node);
                Workers::All
            }
        }
    }

    fn worker_name(&mut self, node: &Node<'_>) -> Option<WorkerName> {
        match node.text() {
            Some(ALL_WORKERS) => {
                self.unknown(node.position, "\"*\" is not a name; for all workers write workers: \"*\"");
                None
            }
            Some(name) if !name.is_empty() => {
                Some(WorkerName { name: name.to_owned(), position: node.position })
            }
            _ => {
                self.expected("a worker's name", node);
                None
            }
        }
    }

    fn strategy(&mut self, node: &Node<'_>) -> Strategy {
        match node.text() {
            Some("best-first") => return Strategy::BestFirst,
            Some("random") => return Strategy::Random,
            Some("platform") => return Strategy::Platform,
            Some(other) => {
                let what =
                    format!("unknown strategy {}; expected best-first, random or platform", quoted(other));
                self.unknown(node.position, what);
            }
            None => self.expected("a strategy: best-first, random or platform", node),
        }
        Strategy::BestFirst
    }

    /// `capacity_used` and `max_concurrent_invocations`.
    fn invalidate(&mut self, node: &Node<'_>) -> (Option<u8>, Option<u32>) {
        let (mut capacity_used, mut max_concurrent_invocations) = (None, None);
        let expected = "capacity_used and max_concurrent_invocations";
        let map = match &node.value {
            Value::Map(map) => map.as_slice(),
            Value::Null => &[],
            _ => {
                self.expected(&format!("{expected}, each with its value"), node);
                &[]
            }
        };
        for (key, position, value) in self.entries(map) {
            match key {
                "capacity_used" => capacity_used = self.percentage(value),
                "max_concurrent_invocations" => max_concurrent_invocations = self.count(value),
                _ => self.unknown(
                    position,
                    format!("unknown key {}; invalidate may have {expected}", quoted(key)),
                ),
            }
        }
        (capacity_used, max_concurrent_invocations)
    }

    /// A limit in percent. `None` for more than 100, which means no limit.
    fn percentage(&mut self, node: &Node<'_>) -> Option<u8> {
        let text = node.text().unwrap_or_default().trim();
        let number = text.strip_suffix('%').unwrap_or(text).trim_end();
        if !is_whole_number(number) {
            self.expected("capacity_used as a whole number of percent, such as 50%", node);
        }
        number.parse().ok().filter(|percent| *percent <= 100)
    }

    fn count(&mut self, node: &Node<'_>) -> Option<u32> {
        let number = node.text().unwrap_or_default().trim();
        let count = number.parse().ok().filter(|_| is_whole_number(number));
        if count.is_none() {
            let expected = format!("max_concurrent_invocations as a whole number from 0 to {}", u32::MAX);
            self.expected(&expected, node);
        }
        count
    }

    fn affinity(&mut self, node: &Node<'_>) -> Vec<Affinity> {
        match &node.value {
            Value::List(terms) => {
                let mut seen = HashSet::new();
                let terms = terms.iter().filter_map(|term| self.term(term));
                terms.filter(|term| seen.insert((term.tag.clone(), term.wanted))).collect()
            }
            Value::Null => Vec::new(),
            _ => {
                self.expected("a list of tags, such as [\"t\", \"!u\"]", node);
                Vec::new()
            }
        }
    }

    fn term(&mut self, node: &Node<'_>) -> Option<Affinity> {
        let expected = "a tag, \"t\" or \"!t\"";
        let text = match &node.value {
            Value::Text(text) => text,
            Value::Tagged(tag) if tag.starts_with('!') && !tag.starts_with("!!") => {
                let term = if tag == "!" { "\"!t\"".to_owned() } else { quoted(tag) };
                self.unknown(node.position, format!("a term with ! needs quotes: {term}"));
                return None;
            }
            _ => {
                self.expected(expected, node);
                return None;
            }
        };
        let (tag, wanted) = match text.strip_prefix('!') {
            Some(tag) => (tag, false),
            None => (&**text, true),
        };
        if tag.starts_with('!') {
            self.expected(expected, node);
        } else if let Err(what) = check_tag(tag) {
            self.unknown(node.position, what);
        }
        Some(Affinity { tag: tag.to_owned(), wanted, position: node.position })
    }

    /// The entries of a mapping: key, the key's position, value.
    fn entries<'n, 't>(&mut self, map: &'n [(Node<'t>, Node<'t>)]) -> Vec<(&'n str, Position, &'n Node<'t>)> {
        let mut lines = HashMap::new();
        let mut entries = Vec::new();
        for (key, value) in map {
            let Some(text) = key.text() else {
                self.expected("text as a key", key);
                continue;
            };
            match lines.get(text) {
                Some(line) => {
                    let what = format!("duplicate key {}, first on line {line}", quoted(text));
                    self.unknown(key.position, what);
                }
                None => {
                    lines.insert(text, key.position.line);
                    entries.push((text, key.position, value));
                }
            }
        }
        entries
    }

    fn no_workers(&mut self, position: Position) {
        let what = "the block names no workers; expected workers: \"*\" or a list of names";
        self.problem(ProblemKind::NoBlockWorkers, position, what);
    }

    fn expected(&mut self, expected: &str, node: &Node<'_>) {
        self.unknown(node.position, format!("expected {expected}; {}", found_words(node)));
    }

    fn unknown(&mut self, position: Position, what: impl std::fmt::Display) {
        self.problem(ProblemKind::UnknownConstruct, position, what);
    }

    fn problem(&mut self, kind: ProblemKind, position: Position, what: impl std::fmt::Display) {
        self.problems.push(Problem::new(kind, self.tag.as_deref(), self.block, position, what));
    }
}

/// A node in words.
fn found_words(node: &Node<'_>) -> String {
    match &node.value {
        Value::Null => "found nothing".to_owned(),
        Value::Text(text) => format!("found {}", quoted(text)),
        Value::List(_) => "found a list".to_owned(),
        Value::Map(_) => "found a mapping".to_owned(),
        Value::Tagged(tag) => format!("found the YAML tag {}", quoted(tag)),
        Value::Alias => "found an alias, which scripts may not use".to_owned(),
    }
}

/// Checks that a function can have this tag.
fn check_tag(tag: &str) -> Result<(), String> {
    if tag.is_empty() {
        return Err("the tag is empty; expected the tag of functions".to_owned());
    }
    if tag.chars().count() > MAX_TAG_CHARS || tag.chars().any(char::is_control) {
        return Err(format!(
            "no function has such a tag; expected one line of at most {MAX_TAG_CHARS} characters"
        ));
    }
    Ok(())
}

/// Whether a text consists of digits.
fn is_whole_number(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())
}
