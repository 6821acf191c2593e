//! `fl script explain`: why a function runs where it runs.

use anyhow::bail;
use mesh::clock::rfc_3339;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::PATH;
use crate::args::Explain;
use crate::client::{Answer, Client, data};
use crate::table::Table;

#[derive(Deserialize)]
struct Explanation {
    /// Empty: it is hypothetical.
    decision_id: String,
    at_ms: i64,
    module: String,
    function: String,
    /// Empty: none.
    tag: String,
    capacity_kb: u64,
    /// Empty: the default policy.
    script: String,
    items: Vec<Item>,
    summary: String,
}

#[derive(Deserialize)]
struct Item {
    tag: String,
    blocks: Vec<Block>,
}

#[derive(Deserialize)]
struct Block {
    number: u32,
    strategy: String,
    workers: Vec<Worker>,
}

#[derive(Deserialize)]
struct Worker {
    worker: String,
    verdict: String,
    reason: String,
}

/// Explains what is asked for.
pub async fn run(asked: Explain, client: &Client) -> anyhow::Result<()> {
    let request = match (&asked.name, &asked.decision) {
        (None, Some(id)) => client.request(Method::GET, &["decisions", id])?,
        (name, _) => {
            let path = [PATH[0], PATH[1], name.as_deref().unwrap_or_default(), "explain"];
            let query = [("function", &asked.function), ("decision", &asked.decision)];
            let query: Vec<_> =
                query.into_iter().filter_map(|(key, value)| Some((key, value.clone()?))).collect();
            client.query(Method::GET, &path, &query)?
        }
    };
    let body = unless_missing(client.ask(request).await?, &asked)?;
    match asked.json {
        true => println!("{body}"),
        false => print!("{}", shown(&data(&body)?)),
    }
    Ok(())
}

fn unless_missing(answer: Answer, asked: &Explain) -> anyhow::Result<String> {
    if answer.status != StatusCode::NOT_FOUND {
        return answer.success();
    }
    let words = answer.words();
    match (&asked.function, &asked.decision) {
        (_, Some(id)) if asked.name.is_some() => bail!(
            "{words}; `fl script explain --decision {id}` explains it whoever made it, and `fl script decisions` lists those that are remembered"
        ),
        (_, Some(_)) => bail!("{words}; see `fl script decisions`"),
        // The one thing whose absence has no words of its own.
        (Some(function), None) if words == "Not Found" => {
            bail!("no function {function}; see `fl mod get MODULE`")
        }
        _ => bail!("{words}; see `fl script list`"),
    }
}

fn shown(explanation: &Explanation) -> String {
    let mut head = Table::new(&["function", &format!("{}/{}", explanation.module, explanation.function)]);
    let mut line = |name: &str, value: String| head.row([name.to_owned(), value]);
    let tag = Some(&explanation.tag).filter(|tag| !tag.is_empty());
    line("tag", tag.map_or_else(|| "none".to_owned(), String::clone));
    line("capacity", format!("{} KB", explanation.capacity_kb));
    let script = Some(&explanation.script).filter(|script| !script.is_empty());
    line("script", script.map_or_else(|| "none, the default policy".to_owned(), String::clone));
    match explanation.decision_id.as_str() {
        "" => line("decision", "none, this is what would be decided now".to_owned()),
        id => line("decision", format!("{id} at {}", rfc_3339(explanation.at_ms))),
    }
    let walk = walk(&explanation.items).to_string();
    let gap = if walk.is_empty() { "" } else { "\n" };
    format!("{head}{gap}{walk}\n{}\n", explanation.summary.replace(char::is_control, " "))
}

/// What was looked at, in that order. Tag and block stand where they begin.
fn walk(items: &[Item]) -> Table {
    let mut table = Table::new(&["TAG", "BLOCK", "WORKER", "VERDICT", "REASON"]);
    for item in items {
        let mut tag = if item.tag.is_empty() { "-" } else { &item.tag };
        for block in &item.blocks {
            let mut number = format!("{} {}", block.number, block.strategy);
            if block.workers.is_empty() {
                table.row([tag.to_owned(), number.clone(), "-".to_owned()]);
                tag = "";
            }
            for worker in &block.workers {
                table.row([
                    std::mem::take(&mut tag).to_owned(),
                    std::mem::take(&mut number),
                    worker.worker.clone(),
                    worker.verdict.replace('_', " "),
                    worker.reason.clone(),
                ]);
            }
        }
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAST: &str = r#"{"data":{"decision_id":"a-1","at_ms":1700000000123,"module":"m","function":"f","tag":"t",
        "capacity_kb":64,"script":"s","worker":"d","refusal":"","summary":"d: chosen by the script s",
        "items":[
            {"tag":"t","followup":"default","blocks":[
                {"number":1,"strategy":"best-first","workers":[
                    {"worker":"a","verdict":"invalid","reason":"it stops"},
                    {"worker":"long_name","verdict":"invalid","reason":"runs 3"}]},
                {"number":2,"strategy":"random","workers":[]}]},
            {"tag":"default","followup":"fail","blocks":[
                {"number":1,"strategy":"platform","workers":[
                    {"worker":"d","verdict":"chosen","reason":"has 9 KB available"},
                    {"worker":"e","verdict":"not_reached","reason":"a worker was\nchosen before it"}]}]}]}}"#;

    #[test]
    fn an_explanation_is_a_walk_through_the_script() {
        let expected = "\
function  m/f
tag       t
capacity  64 KB
script    s
decision  a-1 at 2023-11-14T22:13:20.123Z

TAG      BLOCK         WORKER     VERDICT      REASON
t        1 best-first  a          invalid      it stops
                       long_name  invalid      runs 3
         2 random      -
default  1 platform    d          chosen       has 9 KB available
                       e          not reached  a worker was chosen before it

d: chosen by the script s
";
        assert_eq!(shown(&data(PAST).expect("an explanation")), expected);
    }

    #[test]
    fn what_would_be_decided_now_says_so() {
        let now = r#"{"data":{"decision_id":"","at_ms":0,"module":"_","function":"f","tag":"","capacity_kb":64,
            "script":"","items":[],"worker":"","refusal":"no_workers","summary":"no worker: none is there"}}"#;
        let expected = "\
function  _/f
tag       none
capacity  64 KB
script    none, the default policy
decision  none, this is what would be decided now

no worker: none is there
";
        assert_eq!(shown(&data(now).expect("an explanation")), expected);
    }
}
