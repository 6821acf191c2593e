//! Scripts in responses.

use std::collections::BTreeMap;

use proto::registry::v1::Script;
use proto::scheduler::v1::{AppBlock, AppItem, AppScript, CheckScriptResponse, ScriptProblem};
use serde::Serialize;
use utoipa::ToSchema;

/// A script.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ScriptView {
    name: String,
    /// The subject that created it. Null: it is shared, and only administrators may delete it.
    owner: Option<String>,
    /// The text, as uploaded.
    content: String,
    script: ParsedScript,
}

/// The parsed script.
#[derive(Debug, Serialize, ToSchema)]
struct ParsedScript {
    /// The text again, where older clients expect it.
    content: String,
    /// The items by tag, with defaults filled in. Null: the scheduler does not answer, or cannot parse the
    /// text, which only a version of the mesh without script checks can have stored.
    tags: Option<BTreeMap<String, ParsedItem>>,
}

/// The item of a script for one tag.
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

/// The conditions under which a worker is not valid.
#[derive(Debug, Serialize, ToSchema)]
struct ParsedInvalidate {
    /// In percent of the memory.
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
    /// Warnings that depend on the current workers. Often empty.
    warnings: Vec<ProblemView>,
}

/// The problems of a text.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Findings {
    /// Errors: a script with any of them is refused.
    errors: Vec<ProblemView>,
    /// Warnings: a script with only these is accepted.
    warnings: Vec<ProblemView>,
}

/// An error or warning about a script.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ScriptProblem)]
pub(crate) struct ProblemView {
    #[schema(example = "unknown_worker")]
    kind: String,
    /// The text, with the position.
    message: String,
    /// The tag of the item. Empty: the problem is not about an item.
    tag: String,
    /// The block's number in its item, from 1. 0: the problem is not about a block.
    block: u32,
    /// From 1, like the column.
    line: u32,
    column: u32,
}

impl ScriptView {
    /// A script; `parsed` is its parsed content, if it could be parsed.
    pub(super) fn new(Script { name, content, owner }: Script, parsed: Option<AppScript>) -> Self {
        let tags = parsed.map(|script| script.items.into_iter().map(ParsedItem::by_tag).collect());
        let owner = Some(owner).filter(|owner| !owner.is_empty());
        Self { name, owner, content: content.clone(), script: ParsedScript { content, tags } }
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
    fn scripts_have_the_format_that_older_clients_know() {
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
        let script = Script { name: "s".into(), content: "- t: []".into(), owner: "ann".into() };
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
            "owner": "ann",
            "content": "- t: []",
            "script": {"content": "- t: []", "tags": tags},
        });
        assert_eq!(serde_json::to_value(shown).expect("serializable"), expected);
    }
}
