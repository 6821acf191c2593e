//! `fl admin user`.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::args::Users;
use crate::client::{Client, data};

/// The path below `/v1`.
const PATH: [&str; 2] = ["admin", "subjects"];

#[derive(Deserialize)]
struct Subject {
    name: String,
}

#[derive(Deserialize)]
struct NewSubject {
    name: String,
    token: String,
}

/// Runs one of the commands.
pub async fn run(command: Users, client: &Client) -> anyhow::Result<()> {
    match command {
        Users::Create { name } => {
            let body = json!({ "subject": { "name": name } });
            let body = client.send(client.request(Method::POST, &PATH)?.json(&body)).await?;
            let NewSubject { name, token } = data(&body)?;
            println!("User {name} created. Auth token:");
            println!("{token}");
        }
        Users::List => {
            let body = client.send(client.request(Method::GET, &PATH)?).await?;
            println!("Users:");
            for subject in data::<Vec<Subject>>(&body)? {
                println!("- {}", subject.name);
            }
        }
        Users::Delete { name } => {
            client.send(client.request(Method::DELETE, &[PATH[0], PATH[1], &name])?).await?;
            println!("Successfully deleted user {name}.");
        }
    }
    Ok(())
}
