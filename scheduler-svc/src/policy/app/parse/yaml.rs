//! Parses the text of a script into a tree of YAML nodes with their positions.
//!
//! The trees of general libraries drop duplicate keys, copy the targets of aliases, and recurse as deep as a
//! text nests. This one is built from the parser's events and does none of that: it has at most as many nodes
//! as the text has characters, and a few levels.

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::policy::app::script::Position;

/// The deepest nesting. Scripts need less.
const MAX_DEPTH: usize = 16;

/// The key of an item that is not a tag.
pub(super) const FOLLOWUP: &str = "followup";

/// The nodes of a text.
pub(super) struct Loaded<'t> {
    /// The document, or its complete part before an error. `None`: the text has no document.
    pub root: Option<Node<'t>>,
    /// The error that ended the document, if any.
    pub broken: Option<Broken>,
}

/// An error in the YAML of a script.
pub(super) struct Broken {
    pub position: Position,
    pub what: String,
    /// The tag of the item.
    pub tag: Option<String>,
    /// The number of the block in the item, from 1.
    pub block: Option<u32>,
}

/// A node with its position.
pub(super) struct Node<'t> {
    pub position: Position,
    pub value: Value<'t>,
}

pub(super) enum Value<'t> {
    /// Nothing, `~` or `null`.
    Null,
    /// Text. Numbers and booleans are text, too, as written.
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    /// Keys and values, in order.
    Map(Vec<(Node<'t>, Node<'t>)>),
    /// Any node with this YAML tag.
    Tagged(String),
    /// A reference to another node.
    Alias,
}

/// Parses a text.
pub(super) fn load(text: &str) -> Loaded<'_> {
    // A byte-order mark does not count as a column.
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut loader = Loader { open: Vec::new(), root: None };
    for event in Parser::new_from_str(text) {
        let taken = match event {
            Ok((event, span)) => loader.take(event, position_of(span.start)),
            Err(error) => Err(words(text, &error)),
        };
        if let Err((position, what)) = taken {
            return loader.broken(position, what);
        }
    }
    Loaded { root: loader.root, broken: None }
}

struct Loader<'t> {
    /// The open lists and mappings, outermost first.
    open: Vec<Open<'t>>,
    root: Option<Node<'t>>,
}

struct Open<'t> {
    position: Position,
    tag: Option<String>,
    contents: Contents<'t>,
}

enum Contents<'t> {
    List(Vec<Node<'t>>),
    Map {
        entries: Vec<(Node<'t>, Node<'t>)>,
        /// The key whose value follows.
        key: Option<Node<'t>>,
    },
}

/// Where an error is, and what it is.
type LocatedError = (Position, String);

impl<'t> Loader<'t> {
    fn take(&mut self, event: Event<'t>, position: Position) -> Result<(), LocatedError> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err((position, "expected only one document".to_owned()));
            }
            Event::Scalar(text, style, _, tag) => {
                let value = match tag {
                    Some(tag) => Value::Tagged(written(&tag)),
                    None if style == ScalarStyle::Plain && is_null(&text) => Value::Null,
                    None => Value::Text(text),
                };
                self.put(Node { position, value });
            }
            Event::Alias(_) => self.put(Node { position, value: Value::Alias }),
            Event::SequenceStart(_, tag) => self.begin(position, tag, Contents::List(Vec::new()))?,
            Event::MappingStart(_, tag) => {
                self.begin(position, tag, Contents::Map { entries: Vec::new(), key: None })?;
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(),
            Event::Nothing
            | Event::StreamStart
            | Event::StreamEnd
            | Event::DocumentStart(_)
            | Event::DocumentEnd => {}
        }
        Ok(())
    }

    fn begin(
        &mut self,
        position: Position,
        tag: Option<Cow<'t, Tag>>,
        contents: Contents<'t>,
    ) -> Result<(), LocatedError> {
        if self.open.len() == MAX_DEPTH {
            return Err((position, "lists and mappings are nested too deep".to_owned()));
        }
        self.open.push(Open { position, tag: tag.map(|tag| written(&tag)), contents });
        Ok(())
    }

    fn end(&mut self) {
        let Some(Open { position, tag, contents }) = self.open.pop() else { return };
        let value = match (tag, contents) {
            (Some(tag), _) => Value::Tagged(tag),
            (None, Contents::List(nodes)) => Value::List(nodes),
            (None, Contents::Map { entries, .. }) => Value::Map(entries),
        };
        self.put(Node { position, value });
    }

    fn put(&mut self, node: Node<'t>) {
        let Some(Open { position: map_position, contents, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match contents {
            Contents::List(nodes) => nodes.push(node),
            // A missing key or value is reported at the mapping or at the key.
            Contents::Map { entries, key } => match key.take() {
                None => *key = Some(node.or_missing_at(*map_position)),
                Some(key) => {
                    let value = node.or_missing_at(key.position);
                    entries.push((key, value));
                }
            },
        }
    }

    /// Ends with an error. Keeps the complete items, so that their problems are found, too.
    fn broken(self, position: Position, what: String) -> Loaded<'t> {
        let (tag, block) = self.current();
        let complete = self.open.into_iter().next().and_then(|open| match open.contents {
            Contents::List(items) => Some(Node { position: open.position, value: Value::List(items) }),
            Contents::Map { .. } => None,
        });
        Loaded { root: self.root.or(complete), broken: Some(Broken { position, what, tag, block }) }
    }

    /// The tag of the current item and the number of the current block.
    fn current(&self) -> (Option<String>, Option<u32>) {
        let [script, item, blocks @ ..] = &self.open[..] else { return (None, None) };
        let (Contents::List(_), Contents::Map { entries, key }) = (&script.contents, &item.contents) else {
            return (None, None);
        };
        let is_tag = |key: &&Node<'t>| key.text().is_some_and(|key| key != FOLLOWUP);
        let tag = entries.iter().map(|(key, _)| key).chain(key).find(is_tag);
        let in_blocks = key.as_ref().is_some_and(|key| is_tag(&key));
        let block = match blocks {
            [Open { contents: Contents::List(blocks), .. }, _, ..] if in_blocks => Some(blocks.len() + 1),
            _ => None,
        };
        (tag.and_then(Node::text).map(str::to_owned), block.and_then(|block| u32::try_from(block).ok()))
    }
}

impl Node<'_> {
    /// Its text, if it is text.
    pub fn text(&self) -> Option<&str> {
        match &self.value {
            Value::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The node. One that is empty gets the position where it is missed.
    fn or_missing_at(self, position: Position) -> Self {
        match self.value {
            Value::Null => Self { position, ..self },
            _ => self,
        }
    }
}

/// Whether YAML takes a word for null.
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A YAML tag as it is written.
fn written(tag: &Tag) -> String {
    match (tag.handle.as_str(), tag.suffix.as_str()) {
        ("" | "!", "!") => "!".to_owned(),
        ("!", suffix) => format!("!{suffix}"),
        (_, suffix) if tag.is_yaml_core_schema() => format!("!!{suffix}"),
        (handle, suffix) => format!("!<{handle}{suffix}>"),
    }
}

fn position_of(marker: Marker) -> Position {
    let number = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    Position { line: number(marker.line()), column: number(marker.col() + 1) }
}

/// Why a text is not valid YAML, without mentioning aliases to users who meant a `*`.
fn words(text: &str, error: &ScanError) -> LocatedError {
    let marker = error.marker();
    let position = match (text.lines().count(), text.lines().last()) {
        // The text ends too early: its last position.
        (lines, Some(last)) if marker.line() > lines => {
            position_of(Marker::new(marker.index(), lines, last.chars().count()))
        }
        _ => position_of(*marker),
    };
    let line = text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
    let is_star = line.chars().nth(marker.col()) == Some('*');
    let what = match error.info() {
        // The parser expects the name of an alias after `*`.
        info if is_star && (info.contains("alias") || info.contains("anchor")) => {
            "a text that begins with * needs quotes, such as workers: \"*\"".to_owned()
        }
        info => format!("this is not valid YAML: {info}"),
    };
    (position, what)
}
