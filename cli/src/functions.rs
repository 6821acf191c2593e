//! `fl fn`.

mod copy;
mod invoke;
mod logs;
mod readiness;
mod source;
mod upload;
mod waterfall;

use std::path::Path;

use reqwest::Method;
use serde_json::Value;

pub use self::invoke::{Invocation, Invoked, arguments, compact, invoke_function};
pub use self::logs::log_of_trace;
pub use self::upload::{Mode, NewFunction, upload_function};
pub use self::waterfall::{Waterfall, trace_id};
use crate::args::{FunctionName, FunctionPath, Functions, Invoke, Logs, SourceFunctions, UpdateSource};
use crate::client::{Client, data};
use crate::names;

/// Runs one of the commands that need no mesh.
pub async fn run_without_mesh(command: SourceFunctions) -> anyhow::Result<()> {
    match command {
        SourceFunctions::New(options) => source::new(&options),
        SourceFunctions::Build(options) => source::build(options).await,
    }
}

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
        Functions::Update(update) => match update.source()? {
            UpdateSource::File(upload) => upload::run(upload, Mode::Update, client).await,
            UpdateSource::Project(project) => source::upload(project, Mode::Update, client).await,
        },
        Functions::Create(options) => source::upload(options, Mode::Create, client).await,
        Functions::Invoke(invoke) => invoke::run(invoke, client).await,
        Functions::Copy { from, to } => copy::run(&from, &to, client).await,
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
    let of = |function: &FunctionName| -> anyhow::Result<_> {
        let (module, name) = function.parts()?;
        Ok((module.to_owned(), name.to_owned()))
    };
    let (module, function) = match command {
        Functions::List { module } => return Ok((module.as_deref().unwrap_or("_").to_owned(), None)),
        Functions::Upload { upload, .. } => return Ok((of(&upload.function)?.0, None)),
        Functions::Create(options) => return Ok((source::named(options)?.0, None)),
        Functions::Update(update) => match update.function() {
            Some(function) => of(&function)?,
            None => source::described(Path::new("."))?,
        },
        Functions::Copy { from: FunctionPath { module, name }, .. } => (module.clone(), name.clone()),
        Functions::Invoke(Invoke { function, .. })
        | Functions::Logs(Logs { function, .. })
        | Functions::Get { function }
        | Functions::Delete { function } => of(function)?,
    };
    Ok((module, Some(function)))
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
