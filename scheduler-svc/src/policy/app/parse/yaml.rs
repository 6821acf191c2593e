//! The text of a script as a tree of YAML nodes, each with its position.
//!
//! The tree of a general library would forget duplicate keys, copy what aliases name, and recurse as deep
//! as a text nests. This one is made from the parser's events and does none of that: it has no more nodes
//! than the text has characters, and is a few levels deep.

use std::borrow::Cow;

use saphyr_parser::{Event, Marker, Parser, ScalarStyle, ScanError, Tag};

use crate::policy::app::script::Position;

/// Deeper than any script.
const MAX_DEPTH: usize = 16;

/// The key of an item that is no tag.
pub(super) const FOLLOWUP: &str = "followup";

/// What was understood of a text.
pub(super) struct Loaded<'t> {
    /// The document, or the part of it that was whole before it broke. `None`: the text has none.
    pub root: Option<Node<'t>>,
    /// Why the rest could not be read.
    pub broken: Option<Broken>,
}

/// Where a text ceases to be the YAML of a script, and why.
pub(super) struct Broken {
    pub position: Position,
    pub what: String,
    /// The tag of the item that it is in.
    pub tag: Option<String>,
    /// The number of the block that it is in, from 1.
    pub block: Option<u32>,
}

/// Something in a text.
pub(super) struct Node<'t> {
    pub position: Position,
    pub value: Value<'t>,
}

pub(super) enum Value<'t> {
    /// Nothing, or a word for it.
    Null,
    /// Text, or what YAML would take for a number or a truth value, as it is written.
    Text(Cow<'t, str>),
    List(Vec<Node<'t>>),
    /// Keys and values as they stand there.
    Map(Vec<(Node<'t>, Node<'t>)>),
    /// Anything with this YAML tag.
    Tagged(String),
    /// The name of another node.
    Alias,
}

/// Reads a text.
pub(super) fn load(text: &str) -> Loaded<'_> {
    // A mark of the encoding is in no column.
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
    /// The collections that have begun and not ended, outermost first.
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

/// Where something is wrong, and what.
type Wrong = (Position, String);

impl<'t> Loader<'t> {
    fn take(&mut self, event: Event<'t>, position: Position) -> Result<(), Wrong> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                return Err((position, "another document begins; expected one only".to_owned()));
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
    ) -> Result<(), Wrong> {
        if self.open.len() == MAX_DEPTH {
            return Err((
                position,
                "lists and mappings are nested deeper than any script has them".to_owned(),
            ));
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
        let Some(Open { position: place_of_map, contents, .. }) = self.open.last_mut() else {
            self.root = Some(node);
            return;
        };
        match contents {
            Contents::List(nodes) => nodes.push(node),
            // What is not there is missed where the mapping begins, or at its key.
            Contents::Map { entries, key } => match key.take() {
                None => *key = Some(node.or_missing_at(*place_of_map)),
                Some(key) => {
                    let value = node.or_missing_at(key.position);
                    entries.push((key, value));
                }
            },
        }
    }

    /// Gives up. The items that ended before are kept, so that all that is wrong with them is said, too.
    fn broken(self, position: Position, what: String) -> Loaded<'t> {
        let (tag, block) = self.whereabouts();
        let whole = self.open.into_iter().next().and_then(|open| match open.contents {
            Contents::List(items) => Some(Node { position: open.position, value: Value::List(items) }),
            Contents::Map { .. } => None,
        });
        Loaded { root: self.root.or(whole), broken: Some(Broken { position, what, tag, block }) }
    }

    /// The tag of the item, and the number of the block, that have begun.
    fn whereabouts(&self) -> (Option<String>, Option<u32>) {
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

    /// The node; nothing has no position but the one where it is missed.
    fn or_missing_at(self, position: Position) -> Self {
        match self.value {
            Value::Null => Self { position, ..self },
            _ => self,
        }
    }
}

/// Words for nothing.
fn is_null(text: &str) -> bool {
    matches!(text, "" | "~" | "null" | "Null" | "NULL")
}

/// A YAML tag as somebody writes it.
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

/// Why a text is no YAML, for who may never have heard of aliases.
fn words(text: &str, error: &ScanError) -> Wrong {
    let marker = error.marker();
    let position = match (text.lines().count(), text.lines().last()) {
        // It ends too early: the last position that it has.
        (lines, Some(last)) if marker.line() > lines => {
            position_of(Marker::new(marker.index(), lines, last.chars().count()))
        }
        _ => position_of(*marker),
    };
    let line = text.lines().nth(marker.line().saturating_sub(1)).unwrap_or_default();
    let is_star = line.chars().nth(marker.col()) == Some('*');
    let what = match error.info() {
        // A name has to follow, or one that was given before.
        info if is_star && (info.contains("alias") || info.contains("anchor")) => {
            "a text that begins with * needs quotes, such as workers: \"*\"".to_owned()
        }
        info => format!("this is no YAML: {info}"),
    };
    (position, what)
}
