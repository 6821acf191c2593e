//! APP scripts: parsed, written again, linted and evaluated.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::sync::Arc;

use bytes::Bytes;
use rand::SeedableRng as _;
use rand::rngs::SmallRng;
use scheduler_svc::policy::app::{
    self, Affinity, Block, Item, Position, Problem, Script, WorkerName, Workers,
};
use scheduler_svc::policy::{Memory, Requirements, Worker, choose};

use crate::{Check, Verdict, assert_message};

/// The workers of the cluster, ordered by name.
const WORKERS: [&str; 3] = ["w1", "w2", "w3"];
/// The most problems of a script, and one that counts the others.
const MAX_PROBLEMS: usize = 1001;

/// Inputs are texts.
pub fn open() -> Check {
    Box::new(|data| check(&String::from_utf8_lossy(data)))
}

fn check(text: &str) -> Verdict {
    let script = match app::parse(text) {
        Ok(script) => script,
        Err(problems) => {
            assert!(!problems.is_empty(), "a refused script has problems");
            check_problems(&problems, text);
            return Verdict::Refused;
        }
    };
    let mut tags = HashSet::new();
    for Item { tag, blocks, .. } in &script.items {
        assert!(tags.insert(tag), "the tag {tag:?} has two items");
        assert!(!tag.is_empty() && !blocks.is_empty(), "an empty item");
    }
    let written = write_script(&script);
    let parsed = app::parse(&written).unwrap_or_else(|problems| panic!("{problems:?} in {written}"));
    assert_eq!(without_positions(parsed), without_positions(script.clone()), "{written}");

    let names = WORKERS.map(Arc::from);
    check_problems(&app::lint(&script, &names), text);
    evaluate(&script);
    Verdict::Accepted
}

fn check_problems(problems: &[Problem], text: &str) {
    let lines = u32::try_from(text.split(['\n', '\r']).count()).expect("a short text");
    assert!(problems.len() <= MAX_PROBLEMS, "{} problems", problems.len());
    for Problem { message, position, .. } in problems {
        assert_message(message);
        assert!((1..=lines).contains(&position.line) && position.column > 0, "{position:?}: {message}");
    }
}

/// Chooses a worker for each tag, and for one that the script does not have.
fn evaluate(script: &Script) {
    let memory = Memory { total: 1 << 30, available: 1 << 29 };
    let workers = WORKERS.map(|name| Worker::new(name, Some(memory)));
    let code = Bytes::new();
    for tag in script.items.iter().map(|item| item.tag.as_str()).chain(["other"]) {
        let requirements = Requirements { tag, capacity: 1 << 20, code: &code };
        let choice = choose(script, &requirements, &workers, &[], &mut SmallRng::seed_from_u64(1));
        if let Ok(index) = choice.outcome {
            assert!((index as usize) < workers.len(), "there is no worker {index}");
        }
    }
}

fn write_script(script: &Script) -> String {
    if script.items.is_empty() {
        return "[]".to_owned();
    }
    let mut text = String::new();
    for Item { tag, blocks, followup, .. } in &script.items {
        let blocks: Vec<_> = blocks.iter().map(write_block).collect();
        // Other keys may not be longer than 1024 characters, and escapes are longer than what they stand for.
        let _ = writeln!(text, "- ? {}\n  : [{}]", quoted(tag), blocks.join(", "));
        let _ = writeln!(text, "  followup: {}", followup.as_str());
    }
    text
}

fn write_block(block: &Block) -> String {
    let workers = match &block.workers {
        Workers::All => "\"*\"".to_owned(),
        Workers::Named(named) => {
            let names: Vec<_> = named.iter().map(|named| quoted(&named.name)).collect();
            format!("[{}]", names.join(", "))
        }
    };
    let percent = block.capacity_used.map(|percent| format!("capacity_used: {percent}"));
    let most = block.max_concurrent_invocations.map(|most| format!("max_concurrent_invocations: {most}"));
    let invalidate: Vec<_> = percent.into_iter().chain(most).collect();
    let terms: Vec<_> = block.affinity.iter().map(|term| quoted(&term.to_string())).collect();
    format!(
        "{{workers: {workers}, strategy: {}, invalidate: {{{}}}, affinity: [{}]}}",
        block.strategy.as_str(),
        invalidate.join(", "),
        terms.join(", ")
    )
}

/// A text in YAML's double quotes.
fn quoted(text: &str) -> String {
    let mut quoted = String::from("\"");
    for character in text.chars() {
        let _ = match character {
            ' ' | '!' | '#'..='[' | ']'..='~' => write!(quoted, "{character}"),
            other => write!(quoted, "\\U{:08x}", u32::from(other)),
        };
    }
    quoted + "\""
}

fn without_positions(mut script: Script) -> Script {
    let nowhere = Position::default();
    for item in &mut script.items {
        item.position = nowhere;
        for block in &mut item.blocks {
            block.position = nowhere;
            if let Workers::Named(named) = &mut block.workers {
                named.iter_mut().for_each(|WorkerName { position, .. }| *position = nowhere);
            }
            block.affinity.iter_mut().for_each(|Affinity { position, .. }| *position = nowhere);
        }
    }
    script
}
