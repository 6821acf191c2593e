//! Throwing letters away.

use anyhow::bail;
use reqwest::{Method, StatusCode};
use serde::Deserialize;

use super::{MOST, PATH, query};
use crate::args::LetterFilter;
use crate::client::{Client, data};

#[derive(Deserialize)]
struct Purged {
    purged: usize,
}

/// Throws away the letters that are named.
pub async fn some(client: &Client, ids: Vec<String>) -> anyhow::Result<()> {
    let count = ids.len();
    let mut missing = 0;
    for id in ids {
        let answer = client.ask(client.request(Method::DELETE, &[PATH, &id])?).await?;
        if answer.status == StatusCode::NOT_FOUND {
            missing += 1;
            eprintln!("{id}: no such dead letter");
        } else {
            answer.success()?;
            println!("purged {id}");
        }
    }
    match missing {
        0 => Ok(()),
        _ => bail!("{missing} of {count} were not there"),
    }
}

/// Throws away all that the filter lets through, until none is left.
pub async fn all(client: &Client, filter: LetterFilter) -> anyhow::Result<()> {
    let mut query = query(filter);
    query.extend([("all", true.to_string()), ("limit", MOST.to_string())]);
    let mut count = 0;
    loop {
        let body = client.send(client.query(Method::DELETE, &[PATH], &query)?).await?;
        let Purged { purged } = data(&body)?;
        if purged == 0 {
            break;
        }
        count += purged;
        eprintln!("{count} purged");
    }
    println!("purged {count}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::mesh::FakeMesh;
    use super::*;

    #[tokio::test]
    async fn all_means_until_none_is_left() {
        let mesh = FakeMesh::start(2500, 3).await;
        all(&mesh.client, LetterFilter::default()).await.expect("purged");
        assert!(mesh.letters().is_empty());
    }

    #[tokio::test]
    async fn those_that_are_not_there_are_no_success() {
        let mesh = FakeMesh::start(3, 0).await;
        let error = some(&mesh.client, vec!["1".into(), "7".into()]).await.expect_err("7 is not there");
        assert_eq!(error.to_string(), "1 of 2 were not there");
        assert_eq!(mesh.letters().len(), 2);
    }
}
