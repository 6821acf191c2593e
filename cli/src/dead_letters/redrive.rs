//! Trying letters once more.

use std::collections::BTreeMap;

use anyhow::bail;
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use serde_json::json;

use super::letter::Page;
use super::{MOST, PATH, query};
use crate::args::{LetterFilter, Role};
use crate::client::{Client, data};

/// How many are tried with one request: functions run for them, and the answer comes when all have ended.
const AT_ONCE: usize = 20;

/// What became of letters.
#[derive(Debug, Deserialize)]
struct Redriven {
    redriven: usize,
    failures: Vec<Failure>,
}

#[derive(Debug, Deserialize)]
struct Failure {
    id: String,
    reason: String,
}

/// Redrives the letters that are named.
pub async fn some(client: &Client, ids: Vec<String>) -> anyhow::Result<()> {
    let count = ids.len();
    let mut failed = 0;
    for id in ids {
        let answer = client.ask(client.request(Method::POST, &[PATH, &id, "redrive"])?).await?;
        let outcome = match answer.status {
            StatusCode::NOT_FOUND => Err("no such dead letter".to_owned()),
            // It failed again; the others may not.
            StatusCode::UNPROCESSABLE_ENTITY => Err(answer.words()),
            _ => answer.success().map(|_| ()).map(Ok)?,
        };
        match outcome {
            Ok(()) => println!("redriven {id}"),
            Err(why) => {
                failed += 1;
                eprintln!("{id}: {why}");
            }
        }
    }
    not_all(failed, count)
}

/// Redrives all that are there when it begins, each once: what fails again stays a dead letter.
pub async fn all(client: &Client, filter: LetterFilter) -> anyhow::Result<()> {
    let by_role = list(client, filter).await?;
    let count = by_role.values().map(Vec::len).sum();
    let (mut redriven, mut failed) = (0, 0);
    for (role, ids) in by_role {
        for ids in ids.chunks(AT_ONCE) {
            let body = json!({ "role": role, "ids": ids });
            let request = client.request(Method::POST, &[PATH, "redrive"])?.json(&body);
            let done: Redriven = data(&client.send(request).await?)?;
            redriven += done.redriven;
            failed += done.failures.len();
            for Failure { id, reason } in done.failures {
                eprintln!("{id}: {reason}");
            }
            eprintln!("{redriven} of {count} redriven");
        }
    }
    println!("redriven {redriven}");
    not_all(failed, count)
}

/// The ids of all letters that the filter lets through.
async fn list(client: &Client, filter: LetterFilter) -> anyhow::Result<BTreeMap<Role, Vec<String>>> {
    let mut by_role = BTreeMap::<_, Vec<_>>::new();
    let mut query = query(filter);
    query.push(("limit", MOST.to_string()));
    let mut after = None;
    loop {
        let rest = after.map(|after| ("after", after));
        let query: Vec<_> = query.iter().cloned().chain(rest).collect();
        let page = Page::read(&client.send(client.query(Method::GET, &[PATH], &query)?).await?)?;
        for letter in page.data {
            by_role.entry(letter.role).or_default().push(letter.id);
        }
        after = page.next;
        if after.is_none() {
            return Ok(by_role);
        }
    }
}

fn not_all(failed: usize, count: usize) -> anyhow::Result<()> {
    match failed {
        0 => Ok(()),
        _ => bail!("{failed} of {count} were not redriven"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::mesh::FakeMesh;
    use super::*;

    #[tokio::test]
    async fn each_letter_is_redriven_once_whatever_becomes_of_the_others() {
        let mesh = FakeMesh::start(2500, 30).await;
        let error = all(&mesh.client, LetterFilter::default()).await.expect_err("some fail again");
        assert_eq!(error.to_string(), "30 of 2530 were not redriven");
        let left = mesh.letters();
        assert!(left.iter().all(|letter| letter.is_poison), "what fails again stays");
        assert_eq!(left.len(), 30);
        assert_eq!(mesh.most_at_once(), AT_ONCE);
    }

    #[tokio::test]
    async fn named_dead_letters_are_grouped_by_role() {
        let mesh = FakeMesh::start(2, 1).await;
        let ids = ["0", "2", "9", "1"].map(str::to_owned).to_vec();
        let error = some(&mesh.client, ids).await.expect_err("one is poison and one is not there");
        assert_eq!(error.to_string(), "2 of 4 were not redriven");
        assert_eq!(mesh.letters().len(), 1);
        let of_sinks = LetterFilter { role: Some(Role::Sink), ..LetterFilter::default() };
        all(&mesh.client, of_sinks).await.expect("there is nothing of sinks to do");
    }
}
