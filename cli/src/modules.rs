//! `fl mod`.

use reqwest::Method;
use serde_json::json;

use crate::args::Modules;
use crate::client::Client;
use crate::names;

/// Runs one of the commands.
pub async fn run(command: Modules, client: &Client) -> anyhow::Result<()> {
    let module = match &command {
        Modules::Get { name, .. } | Modules::Delete { name } | Modules::Update { name, .. } => name.clone(),
        Modules::List { .. } | Modules::Create { .. } => String::new(),
    };
    match run_command(command, client).await {
        Ok(()) => Ok(()),
        Err(error) => Err(names::suggest(error, client, &module, None).await),
    }
}

async fn run_command(command: Modules, client: &Client) -> anyhow::Result<()> {
    match command {
        Modules::List { count } => print_names(&names::modules(client).await?, count),
        Modules::Get { name, count } => {
            let functions = names::functions(client, &name).await?;
            println!("Module: {name}");
            println!("Functions:");
            print_names(&functions, count);
        }
        Modules::Create { name } => {
            let body = json!({ "module": { "name": name } });
            client.send(client.request(Method::POST, &["fn"])?.json(&body)).await?;
            println!("Successfully created module {name}.");
        }
        Modules::Delete { name } => {
            client.send(client.request(Method::DELETE, &["fn", &name])?).await?;
            println!("Successfully deleted module {name}.");
        }
        Modules::Update { name, new_name } => {
            let body = json!({ "module": { "name": new_name } });
            client.send(client.request(Method::PUT, &["fn", &name])?.json(&body)).await?;
            println!("Successfully renamed module {name} to {new_name}.");
        }
    }
    Ok(())
}

fn print_names(names: &[String], count: bool) {
    for name in names {
        println!("{name}");
    }
    if count {
        println!("Count: {}", names.len());
    }
}
