//! A placement explained: blocks, workers, and the reason in each cell.

use axum::extract::Path;
use maud::{Markup, html};

use super::failure::Failure;
use super::functions;
use super::model::{Block, Explanation, Item};
use super::page::{Section, page};
use super::parts::escaped;
use super::visitor::Visitor;

/// `GET /console/decisions/{id}`
pub(super) async fn show(visitor: Visitor, Path(id): Path<String>) -> Result<Markup, Failure> {
    let explanation: Explanation = visitor.api.get(&format!("/v1/decisions/{}", escaped(&id))).await?;
    let title = format!("Placement of {}/{}", explanation.module, explanation.function);
    let content = html! {
        dl.facts {
            div { dt { "Decision" } dd { code { (explanation.decision_id) } } }
            div { dt { "Function" } dd {
                a href=(functions::path(&explanation.module, &explanation.function)) {
                    (explanation.module) "/" (explanation.function)
                }
            } }
        }
        (panel(&explanation))
    };
    Ok(page(&visitor, Section::Invocations, &title, &content))
}

/// The explanation as a table for each item: a row for each block, a column for each worker.
pub(super) fn panel(explanation: &Explanation) -> Markup {
    html! {
        section.panel {
            header {
                h2 { "Placement" }
                span.quiet {
                    @if explanation.script.is_empty() { "default policy" } @else { "script " (explanation.script) }
                }
            }
            p { (explanation.summary) }
            @for item in &explanation.items { (matrix(item)) }
        }
    }
}

/// The workers of an item's blocks, in the order in which they appear.
fn workers(item: &Item) -> Vec<&str> {
    let mut names = Vec::new();
    for explained in item.blocks.iter().flat_map(|block| &block.workers) {
        if !names.contains(&explained.worker.as_str()) {
            names.push(explained.worker.as_str());
        }
    }
    names
}

fn matrix(item: &Item) -> Markup {
    let workers = workers(item);
    html! {
        h3 { "Tag " code { (item.tag) } ", then " (item.followup) }
        div.scroll tabindex="0" {
            table.matrix {
                thead { tr { th scope="col" { "Block" } @for worker in &workers { th scope="col" { (worker) } } } }
                tbody {
                    @for block in &item.blocks {
                        tr {
                            th scope="row" { (block.number) " " span.quiet { (block.strategy) } }
                            @for worker in &workers { (cell(block, worker)) }
                        }
                    }
                }
            }
        }
    }
}

fn cell(block: &Block, worker: &str) -> Markup {
    let Some(explained) = block.workers.iter().find(|explained| explained.worker == worker) else {
        return html! { td.none { span.quiet { "not in this block" } } };
    };
    html! {
        td class=(explained.verdict) {
            strong { (explained.verdict.replace('_', " ")) }
            @if !explained.reason.is_empty() { br; span.quiet { (explained.reason) } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::model::ExplainedWorker;
    use super::*;

    #[test]
    fn each_worker_is_a_column() {
        let explained = |worker: &str, verdict: &str| ExplainedWorker {
            worker: worker.into(),
            verdict: verdict.into(),
            reason: "<b>".into(),
        };
        let block = |number, workers| Block { number, strategy: "best-first".into(), workers };
        let item = Item {
            tag: "t".into(),
            followup: "fail".into(),
            blocks: vec![
                block(1, vec![explained("b", "invalid")]),
                block(2, vec![explained("a", "chosen"), explained("b", "not_reached")]),
            ],
        };
        assert_eq!(workers(&item), ["b", "a"]);
        let shown = matrix(&item).into_string();
        assert!(shown.contains(r#"<td class="chosen"><strong>chosen</strong>"#), "{shown}");
        assert!(shown.contains("not in this block") && !shown.contains("<b>"), "{shown}");
    }
}
