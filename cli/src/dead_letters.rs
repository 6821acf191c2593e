//! `fl dead-letters`.

mod letter;
#[cfg(test)]
mod mesh;
mod purge;
mod redrive;

use anyhow::bail;
use reqwest::{Method, StatusCode};

use crate::args::{DeadLetters, LetterFilter, Letters};
use crate::client::{Client, data};
use crate::states;
use letter::{Letter, Page};

/// The path below `/v1`.
const PATH: &str = "dead-letters";
/// The most letters that the mesh lists or throws away at once.
const MOST: usize = 1000;

/// Runs one of the commands.
pub async fn run(command: DeadLetters, client: &Client) -> anyhow::Result<()> {
    match command {
        DeadLetters::List { filter, limit, after, json } => {
            let mut query = query(filter);
            query.push(("limit", limit.to_string()));
            query.extend(after.map(|after| ("after", after)));
            let body = client.send(client.query(Method::GET, &[PATH], &query)?).await?;
            if json {
                println!("{body}");
                return Ok(());
            }
            let page = Page::read(&body)?;
            print!("{}", letter::table(page.data));
            if let Some(next) = page.next {
                eprintln!("there are more: add --after {next}, or a larger --limit");
            }
        }
        DeadLetters::Show { id } => {
            let answer = client.ask(client.request(Method::GET, &[PATH, &id])?).await?;
            if answer.status == StatusCode::NOT_FOUND {
                bail!("no dead letter {id}; see `fl dead-letters list`");
            }
            print!("{}", letter::shown(&data::<Letter>(&answer.success()?)?)?);
        }
        DeadLetters::Redrive(letters) if letters.all => redrive::all(client, letters.filter).await?,
        DeadLetters::Purge(letters) if letters.all => purge::all(client, letters.filter).await?,
        DeadLetters::Redrive(letters) => redrive::some(client, ids(letters)?).await?,
        DeadLetters::Purge(letters) => purge::some(client, ids(letters)?).await?,
    }
    Ok(())
}

/// The letters that were named.
fn ids(Letters { ids, filter, .. }: Letters) -> anyhow::Result<Vec<String>> {
    match query(filter).is_empty() {
        true => Ok(ids),
        false => bail!("filters go with --all, not with ids"),
    }
}

/// The filter as a query.
fn query(LetterFilter { of, binding, role, older_than }: LetterFilter) -> Vec<(&'static str, String)> {
    let role = role.map(|role| letter::role_name(role).to_owned());
    let given = [("binding", binding), ("role", role), ("older_than", older_than)];
    let given = given.into_iter().filter_map(|(key, value)| Some((key, value?)));
    states::query(of).into_iter().chain(given).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{OfFunctions, Role};

    #[test]
    fn filters_are_a_query() {
        assert!(query(LetterFilter::default()).is_empty());
        let of = OfFunctions { module: Some("m".into()), function: Some("f".into()) };
        let filter = LetterFilter {
            of,
            binding: Some("b".into()),
            role: Some(Role::Sink),
            older_than: Some("12h".into()),
        };
        let expected =
            [("module", "m"), ("function", "f"), ("binding", "b"), ("role", "sink"), ("older_than", "12h")];
        assert_eq!(query(filter), expected.map(|(key, value)| (key, value.to_owned())));
    }

    #[test]
    fn filters_and_ids_exclude_each_other() {
        let filter = LetterFilter { binding: Some("b".into()), ..LetterFilter::default() };
        let letters = Letters { ids: vec!["1".into()], all: false, filter };
        assert!(ids(letters).expect_err("refused").to_string().contains("--all"));
    }
}
