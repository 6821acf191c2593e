//! `fl mod`.

use reqwest::Method;
use serde::Deserialize;
use serde_json::json;

use crate::args::Modules;
use crate::client::{Client, data};

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Deserialize)]
struct Module {
    functions: Vec<Named>,
}

/// Runs one of the commands.
pub async fn run(command: Modules, client: &Client) -> anyhow::Result<()> {
    match command {
        Modules::List => {
            let body = client.send(client.request(Method::GET, &["fn"])?).await?;
            print_names(&data::<Vec<Named>>(&body)?);
        }
        Modules::Get { name } => {
            let body = client.send(client.request(Method::GET, &["fn", &name])?).await?;
            print_names(&data::<Module>(&body)?.functions);
        }
        Modules::Create { name } => {
            let body = json!({ "module": { "name": name } });
            client.send(client.request(Method::POST, &["fn"])?.json(&body)).await?;
            println!("created {name}");
        }
        Modules::Delete { name } => {
            client.send(client.request(Method::DELETE, &["fn", &name])?).await?;
            println!("deleted {name}");
        }
        Modules::Update { name, new_name } => {
            let body = json!({ "module": { "name": new_name } });
            client.send(client.request(Method::PUT, &["fn", &name])?.json(&body)).await?;
            println!("renamed {name} to {new_name}");
        }
    }
    Ok(())
}

fn print_names(names: &[Named]) {
    for name in names {
        println!("{}", name.name);
    }
}
