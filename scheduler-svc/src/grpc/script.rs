//! Checks scripts and encodes them as messages.

use std::sync::Arc;

use proto::scheduler::v1::{AppBlock, AppItem, AppScript, CheckScriptResponse, ScriptProblem};

use crate::policy::app::{self, Block, Item, Problem, Workers};

/// Checks the text of a script. Warns of workers that are not among `workers`.
pub fn check(content: &str, workers: &[Arc<str>]) -> CheckScriptResponse {
    match app::parse(content) {
        Ok(script) => CheckScriptResponse {
            warnings: app::lint(&script, workers).into_iter().map(problem_of).collect(),
            script: Some(AppScript { items: script.items.into_iter().map(item_of).collect() }),
            errors: Vec::new(),
        },
        Err(problems) => CheckScriptResponse {
            errors: problems.into_iter().map(problem_of).collect(),
            ..CheckScriptResponse::default()
        },
    }
}

fn problem_of(Problem { kind, message, tag, block, position }: Problem) -> ScriptProblem {
    ScriptProblem {
        kind: kind.as_str().to_owned(),
        message,
        tag: tag.unwrap_or_default(),
        block: block.unwrap_or_default(),
        line: position.line,
        column: position.column,
    }
}

fn item_of(Item { tag, blocks, followup, .. }: Item) -> AppItem {
    AppItem {
        tag,
        blocks: blocks.into_iter().map(block_of).collect(),
        followup: followup.as_str().to_owned(),
    }
}

fn block_of(block: Block) -> AppBlock {
    let workers = match block.workers {
        Workers::All => Vec::new(),
        Workers::Named(named) => named.into_iter().map(|named| named.name).collect(),
    };
    AppBlock {
        workers,
        strategy: block.strategy.as_str().to_owned(),
        capacity_used: block.capacity_used.map(u32::from),
        max_concurrent_invocations: block.max_concurrent_invocations,
        affinity: block.affinity.iter().map(ToString::to_string).collect(),
    }
}
