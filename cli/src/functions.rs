//! `fl fn`.

mod invoke;
mod logs;
mod readiness;
mod upload;
mod waterfall;

use reqwest::Method;
use serde_json::Value;

pub use self::invoke::{Invocation, invoke_function};
pub use self::upload::{Mode, NewFunction, upload_function};
use crate::args::{Functions, Invoke, Logs, Upload};
use crate::client::{Client, data};
use crate::names;

/// Runs one of the commands.
pub async fn run(command: Functions, client: &Client) -> anyhow::Result<()> {
    let (module, function) = named(&command)?;
    match run_command(command, client).await {
        Ok(()) => Ok(()),
        Err(error) => Err(names::suggest(error, client, &module, function.as_deref()).await),
    }
}

async fn run_command(command: Functions, client: &Client) -> anyhow::Result<()> {
    match command {
        Functions::List { module } => list(client, module).await,
        Functions::Get { function } => {
            let (module, name) = function.parts()?;
            let body = client.send(client.request(Method::GET, &["fn", module, name])?).await?;
            println!("{}", serde_json::to_string_pretty(&data::<Value>(&body)?)?);
            Ok(())
        }
        Functions::Upload { upload, update: false } => upload::run(upload, Mode::Create, client).await,
        Functions::Upload { upload, update: true } => upload::run(upload, Mode::CreateOrUpdate, client).await,
        Functions::Update(upload) => upload::run(upload, Mode::Update, client).await,
        Functions::Invoke(invoke) => invoke::run(invoke, client).await,
        Functions::Logs(options) => logs::run(options, client).await,
        Functions::Delete { function } => {
            let (module, name) = function.parts()?;
            client.send(client.request(Method::DELETE, &["fn", module, name])?).await?;
            println!("Successfully deleted function {module}/{name}.");
            Ok(())
        }
    }
}

/// The module that a command names, and the function that it wants to exist there.
fn named(command: &Functions) -> anyhow::Result<(String, Option<String>)> {
    let (module, function) = match command {
        Functions::List { module } => (module.as_deref().unwrap_or("_"), None),
        Functions::Upload { upload, .. } => (upload.function.parts()?.0, None),
        Functions::Update(Upload { function, .. })
        | Functions::Invoke(Invoke { function, .. })
        | Functions::Logs(Logs { function, .. })
        | Functions::Get { function }
        | Functions::Delete { function } => {
            let (module, name) = function.parts()?;
            (module, Some(name))
        }
    };
    Ok((module.to_owned(), function.map(str::to_owned)))
}

/// Prints the names of functions, as MODULE/NAME.
async fn list(client: &Client, module: Option<String>) -> anyhow::Result<()> {
    let modules = match module {
        Some(module) => vec![module],
        None => names::modules(client).await?,
    };
    for module in modules {
        for name in names::functions(client, &module).await? {
            println!("{module}/{name}");
        }
    }
    Ok(())
}
