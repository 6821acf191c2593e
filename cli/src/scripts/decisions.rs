//! `fl script decisions`: what was decided lately.

use std::time::Duration;

use mesh::clock::rfc_3339;
use reqwest::Method;
use serde::Deserialize;

use crate::client::{Client, data};
use crate::table::Table;

#[derive(Deserialize)]
struct Decision {
    id: String,
    at_ms: i64,
    module: String,
    function: String,
    /// Empty: the default policy.
    script: String,
    /// Empty: none.
    worker: String,
    refusal: String,
    invocation: Invocation,
}

#[derive(Deserialize)]
struct Invocation {
    tag: String,
    duration_ns: Option<u64>,
}

/// Lists decisions.
pub async fn run(limit: Option<u32>, json: bool, client: &Client) -> anyhow::Result<()> {
    let query: Vec<_> = limit.map(|limit| ("limit", limit.to_string())).into_iter().collect();
    let body = client.send(client.query(Method::GET, &["decisions"], &query)?).await?;
    match json {
        true => println!("{body}"),
        false => print!("{}", table(data(&body)?)),
    }
    Ok(())
}

fn table(decisions: Vec<Decision>) -> Table {
    let mut table = Table::new(&["ID", "AT", "FUNCTION", "TAG", "SCRIPT", "WORKER", "TOOK"]);
    let or_dash = |text: String| if text.is_empty() { "-".to_owned() } else { text };
    for decision in decisions {
        let took = match (decision.invocation.duration_ns, decision.worker.as_str()) {
            (Some(nanos), _) => format!("{:.1?}", Duration::from_nanos(nanos)),
            (None, "") => "-".to_owned(),
            (None, _) => "runs".to_owned(),
        };
        table.row([
            decision.id,
            rfc_3339(decision.at_ms),
            format!("{}/{}", decision.module, decision.function),
            or_dash(decision.invocation.tag),
            or_dash(decision.script),
            if decision.worker.is_empty() { decision.refusal } else { decision.worker },
            took,
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decisions_are_a_table() {
        let body = r#"{"data":[
            {"id":"a-1","at_ms":1700000000123,"module":"_","function":"f","script":"s","worker":"near",
             "refusal":"","invocation":{"at_ns":1,"tag":"t","capacity_kb":64,"duration_ns":1500000}},
            {"id":"a-2","at_ms":1700000000124,"module":"m","function":"f","script":"","worker":"far",
             "refusal":"","invocation":{"at_ns":2,"tag":"","capacity_kb":64,"duration_ns":null}},
            {"id":"a-3","at_ms":1700000000125,"module":"m","function":"f","script":"s","worker":"",
             "refusal":"no_valid_workers","invocation":{"at_ns":3,"tag":"t","capacity_kb":64,"duration_ns":null}}]}"#;
        let expected = "\
ID   AT                        FUNCTION  TAG  SCRIPT  WORKER            TOOK
a-1  2023-11-14T22:13:20.123Z  _/f       t    s       near              1.5ms
a-2  2023-11-14T22:13:20.124Z  m/f       -    -       far               runs
a-3  2023-11-14T22:13:20.125Z  m/f       t    s       no_valid_workers  -
";
        assert_eq!(table(data(body).expect("decisions")).to_string(), expected);
    }
}
