//! What clients see of a script.

use std::collections::BTreeMap;

use proto::registry::v1::Script;
use proto::scheduler::v1::{AppBlock, AppItem, AppScript, CheckScriptResponse, ScriptProblem};
use serde::Serialize;
use utoipa::ToSchema;

/// A script.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptView {
    name: String,
    /// The text as it was uploaded.
    content: String,
    script: ParsedScript,
}

/// What the script says.
#[derive(Debug, Serialize, ToSchema)]
struct ParsedScript {
    /// The text once more, where older clients look for it.
    content: String,
    /// What is said for each tag, with the defaults filled in. Null: the scheduler does not answer, or
    /// cannot read the text, which only a mesh that did not check scripts yet has stored.
    tags: Option<BTreeMap<String, ParsedItem>>,
}

/// What a script says for one tag.
#[derive(Debug, Serialize, ToSchema)]
struct ParsedItem {
    blocks: Vec<ParsedBlock>,
    /// `default` or `fail`.
    followup: String,
}

#[derive(Debug, Serialize, ToSchema)]
struct ParsedBlock {
    workers: ParsedWorkers,
    /// `best-first`, `random` or `platform`.
    strategy: String,
    invalidate: ParsedInvalidate,
    affinity: ParsedAffinity,
}

/// `"*"`, or names.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum ParsedWorkers {
    All(All),
    Named(Vec<String>),
}

#[derive(Debug, Serialize, ToSchema)]
enum All {
    #[serde(rename = "*")]
    Workers,
}

/// When a worker is not valid.
#[derive(Debug, Serialize, ToSchema)]
struct ParsedInvalidate {
    /// Percent of the memory.
    capacity_used: Bound,
    max_concurrent_invocations: Bound,
}

/// A number, or `"infinity"`.
#[derive(Debug, Serialize, ToSchema)]
#[serde(untagged)]
enum Bound {
    Most(u32),
    None(Unbounded),
}

#[derive(Debug, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
enum Unbounded {
    Infinity,
}

/// Tags of functions that have to run on a worker, and of those that must not.
#[derive(Debug, Serialize, ToSchema)]
struct ParsedAffinity {
    affinity: Vec<String>,
    antiaffinity: Vec<String>,
}

/// A script that was stored.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptCreated {
    #[serde(flatten)]
    script: ScriptView,
    /// What is doubtful about it, given the workers that are there. Often empty.
    warnings: Vec<ProblemView>,
}

/// What was found in a text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Findings {
    /// A script with one of these is refused.
    errors: Vec<ProblemView>,
    /// A script with nothing worse is taken.
    warnings: Vec<ProblemView>,
}

/// Something wrong or doubtful in a script.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScriptProblem)]
pub(crate) struct ProblemView {
    #[schema(example = "unknown_worker")]
    kind: String,
    /// In words, with the place.
    message: String,
    /// The tag of the item. Empty: it is about no item.
    tag: String,
    /// The block's number in its item, from 1. 0: it is about no block.
    block: u32,
    /// From 1, as the column.
    line: u32,
    column: u32,
}

impl ScriptView {
    /// The script; `read` is what it says, if somebody could read it.
    pub(super) fn new(Script { name, content }: Script, read: Option<AppScript>) -> Self {
        let tags = read.map(|script| script.items.into_iter().map(ParsedItem::by_tag).collect());
        Self { name, content: content.clone(), script: ParsedScript { content, tags } }
    }
}

impl ScriptCreated {
    pub(super) fn new(script: Script, check: CheckScriptResponse) -> Self {
        let warnings = check.warnings.into_iter().map(ProblemView::from).collect();
        Self { script: ScriptView::new(script, check.script), warnings }
    }
}

impl From<CheckScriptResponse> for Findings {
    fn from(check: CheckScriptResponse) -> Self {
        let shown = |problems: Vec<ScriptProblem>| problems.into_iter().map(ProblemView::from).collect();
        Self { errors: shown(check.errors), warnings: shown(check.warnings) }
    }
}

impl From<ScriptProblem> for ProblemView {
    fn from(problem: ScriptProblem) -> Self {
        let ScriptProblem { kind, message, tag, block, line, column } = problem;
        Self { kind, message, tag, block, line, column }
    }
}

impl ParsedItem {
    fn by_tag(AppItem { tag, blocks, followup }: AppItem) -> (String, Self) {
        (tag, Self { blocks: blocks.into_iter().map(ParsedBlock::from).collect(), followup })
    }
}

impl From<AppBlock> for ParsedBlock {
    fn from(block: AppBlock) -> Self {
        let bound = |most: Option<u32>| most.map_or(Bound::None(Unbounded::Infinity), Bound::Most);
        Self {
            workers: match block.workers {
                names if names.is_empty() => ParsedWorkers::All(All::Workers),
                names => ParsedWorkers::Named(names),
            },
            strategy: block.strategy,
            invalidate: ParsedInvalidate {
                capacity_used: bound(block.capacity_used),
                max_concurrent_invocations: bound(block.max_concurrent_invocations),
            },
            affinity: ParsedAffinity::of(block.affinity),
        }
    }
}

impl ParsedAffinity {
    fn of(terms: Vec<String>) -> Self {
        let (mut affinity, mut antiaffinity) = (Vec::new(), Vec::new());
        for term in terms {
            match term.strip_prefix('!') {
                None => affinity.push(term),
                Some(tag) => antiaffinity.push(tag.to_owned()),
            }
        }
        Self { affinity, antiaffinity }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_script_reads_as_older_clients_know_it() {
        let every = AppBlock { strategy: "best-first".into(), ..AppBlock::default() };
        let narrow = AppBlock {
            workers: vec!["b".into(), "a".into()],
            strategy: "random".into(),
            capacity_used: Some(50),
            max_concurrent_invocations: Some(0),
            affinity: vec!["x".into(), "!y".into(), "z".into()],
        };
        let items = vec![
            AppItem { tag: "t".into(), blocks: vec![narrow, every.clone()], followup: "default".into() },
            AppItem { tag: "default".into(), blocks: vec![every], followup: "fail".into() },
        ];
        let script = Script { name: "s".into(), content: "- t: []".into() };
        let shown = ScriptView::new(script, Some(AppScript { items }));
        let every = json!({
            "workers": "*",
            "strategy": "best-first",
            "invalidate": {"capacity_used": "infinity", "max_concurrent_invocations": "infinity"},
            "affinity": {"affinity": [], "antiaffinity": []},
        });
        let narrow = json!({
            "workers": ["b", "a"],
            "strategy": "random",
            "invalidate": {"capacity_used": 50, "max_concurrent_invocations": 0},
            "affinity": {"affinity": ["x", "z"], "antiaffinity": ["y"]},
        });
        let tags = json!({
            "t": {"blocks": [narrow, every], "followup": "default"},
            "default": {"blocks": [every], "followup": "fail"},
        });
        let expected = json!({
            "name": "s",
            "content": "- t: []",
            "script": {"content": "- t: []", "tags": tags},
        });
        assert_eq!(serde_json::to_value(shown).expect("serializable"), expected);
    }
}
