//! `fl admin user`.

use anyhow::Context as _;
use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::args::Users;
use crate::client::{Client, Refusal, data};
use crate::names;
use crate::output::{self, each};

/// The path below `/v1`.
const PATH: [&str; 2] = ["admin", "subjects"];

#[derive(Deserialize)]
struct Subject {
    name: String,
}

#[derive(Deserialize)]
struct WithToken {
    name: String,
    token: String,
}

/// Runs one of the commands.
pub async fn run(command: Users, client: &Client) -> anyhow::Result<()> {
    match command {
        Users::Create { name, quiet } => {
            let body = json!({ "subject": { "name": name } });
            let body = client.send(client.request(Method::POST, &PATH)?.json(&body)).await?;
            print_token(data(&body)?, "created", quiet)
        }
        Users::List { listing } => {
            let body = client.send(client.request(Method::GET, &PATH)?).await?;
            let text = || {
                let subjects: Vec<Subject> = data(&body)?;
                Ok(format!(
                    "Users:\n{}",
                    output::lines(subjects.into_iter().map(|user| format!("- {}", user.name)))
                ))
            };
            listing.show(&body, each("name"), text)
        }
        Users::Rotate { name, grace, quiet } => {
            let query: Vec<_> = grace.map(|grace| ("grace", grace)).into_iter().collect();
            let path = [PATH[0], PATH[1], &name, "rotate"];
            match client.send(client.query(Method::POST, &path, &query)?).await {
                Ok(body) => print_token(data(&body)?, "has a new token; the one before ends", quiet),
                Err(error) => Err(suggest(error, client, &name).await),
            }
        }
        Users::Delete { name, quiet } => {
            match client.send(client.request(Method::DELETE, &[PATH[0], PATH[1], &name])?).await {
                Ok(_) => quiet.done(&format!("Successfully deleted user {name}.")),
                Err(error) => Err(suggest(error, client, &name).await),
            }
        }
    }
}

/// Prints a token, which the mesh shows only once.
fn print_token(WithToken { name, token }: WithToken, done: &str, quiet: bool) -> anyhow::Result<()> {
    let title = if quiet { String::new() } else { format!("User {name} {done}. Auth token:\n") };
    output::raw(&format!("{title}{token}\n"))
        .context("the token is lost: issue another one with `fl admin user rotate`")
}

/// Adds to the error that a user does not exist the names that come closest.
async fn suggest(error: anyhow::Error, client: &Client, name: &str) -> anyhow::Error {
    match error.downcast::<Refusal>() {
        Ok(refusal) if refusal.is_not_found() => {
            let users = async {
                let body = client.send(client.request(Method::GET, &PATH)?).await?;
                let users: Vec<Subject> = data(&body)?;
                anyhow::Ok(users.into_iter().map(|user| user.name).collect())
            };
            // The first error says more than one of the list.
            let users = users.await.unwrap_or_default();
            let advice = names::did_you_mean("", name, users);
            refusal.with_advice(advice.unwrap_or_else(|| "see `fl admin user list`".to_owned())).into()
        }
        Ok(refusal) => refusal.into(),
        Err(error) => error,
    }
}
