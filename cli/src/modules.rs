//! `fl mod`.

use reqwest::Method;
use serde_json::json;

use crate::args::Modules;
use crate::client::Client;
use crate::names;
use crate::output::{each, lines};

/// Runs one of the commands.
pub async fn run(command: Modules, client: &Client) -> anyhow::Result<()> {
    let module = match &command {
        Modules::Get { name, .. } | Modules::Delete { name, .. } | Modules::Update { name, .. } => {
            name.clone()
        }
        Modules::List { .. } | Modules::Create { .. } => String::new(),
    };
    match run_command(command, client).await {
        Ok(()) => Ok(()),
        Err(error) => Err(names::suggest(error, client, &module, None).await),
    }
}

async fn run_command(command: Modules, client: &Client) -> anyhow::Result<()> {
    match command {
        Modules::List { count, listing } => {
            let response = names::module_list(client).await?;
            listing.show(&response, each("name"), || Ok(counted(names::modules_in(&response)?, count)))
        }
        Modules::Get { name, count, listing } => {
            let response = names::module(client, &name).await?;
            let text = || {
                let functions = names::functions_in(&response)?;
                Ok(format!("Module: {name}\nFunctions:\n{}", counted(functions, count)))
            };
            listing.show(&response, |module| each("name")(&module["functions"]), text)
        }
        Modules::Create { name, quiet } => {
            create(client, &name).await?;
            quiet.done(&format!("Successfully created module {name}."))
        }
        Modules::Delete { name, quiet } => {
            client.send(client.request(Method::DELETE, &["fn", &name])?).await?;
            quiet.done(&format!("Successfully deleted module {name}."))
        }
        Modules::Update { name, new_name, quiet } => {
            let body = json!({ "module": { "name": new_name } });
            client.send(client.request(Method::PUT, &["fn", &name])?.json(&body)).await?;
            quiet.done(&format!("Successfully renamed module {name} to {new_name}."))
        }
    }
}

/// Creates a module.
pub async fn create(client: &Client, name: &str) -> anyhow::Result<()> {
    let body = json!({ "module": { "name": name } });
    client.send(client.request(Method::POST, &["fn"])?.json(&body)).await?;
    Ok(())
}

fn counted(names: Vec<String>, counts: bool) -> String {
    let count = counts.then(|| format!("Count: {}", names.len()));
    lines(names.into_iter().chain(count))
}
