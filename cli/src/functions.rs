//! `fl fn`.

mod copy;
mod invoke;
mod logs;
mod progress;
mod readiness;
mod shown;
mod source;
mod upload;
mod waterfall;

use std::path::Path;

use reqwest::Method;
use serde_json::{Value, json};

pub use self::invoke::{Invocation, Invoked, arguments, compact, invoke_function};
pub use self::logs::log_of_trace;
pub use self::progress::Progress;
pub use self::readiness::warnings as warnings_about_workers;
pub use self::upload::{Mode, NewFunction, upload_function};
pub use self::waterfall::{Waterfall, trace_id};
use crate::args::{
    FunctionName, FunctionPath, Functions, Invoke, Listing, Logs, Output, SourceFunctions, UpdateSource,
};
use crate::client::{Client, data};
use crate::names;
use crate::output::{self, lines};

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
        Functions::List { module, listing } => list(client, module, listing).await,
        Functions::Get { function, output } => {
            let (module, name) = function.parts()?;
            let body = client.send(client.request(Method::GET, &["fn", module, name])?).await?;
            get(&body, output)
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
        Functions::Delete { function, quiet } => {
            let (module, name) = function.parts()?;
            client.send(client.request(Method::DELETE, &["fn", module, name])?).await?;
            quiet.done(&format!("Successfully deleted function {module}/{name}."))
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
        Functions::List { module, .. } => return Ok((module.as_deref().unwrap_or("_").to_owned(), None)),
        Functions::Upload { upload, .. } => return Ok((of(&upload.function)?.0, None)),
        Functions::Create(options) => return Ok((source::named(options)?.0, None)),
        Functions::Update(update) => match update.function() {
            Some(function) => of(&function)?,
            None => source::described(Path::new("."))?,
        },
        Functions::Copy { from: FunctionPath { module, name }, .. } => (module.clone(), name.clone()),
        Functions::Invoke(Invoke { function, .. })
        | Functions::Logs(Logs { function, .. })
        | Functions::Get { function, .. }
        | Functions::Delete { function, .. } => of(function)?,
    };
    Ok((module, Some(function)))
}

/// Prints the names of functions, as MODULE/NAME.
async fn list(client: &Client, module: Option<String>, listing: Listing) -> anyhow::Result<()> {
    let modules = match module {
        Some(module) => vec![module],
        None => names::modules(client).await?,
    };
    let mut functions = Vec::new();
    for module in modules {
        let names = names::functions(client, &module).await?.into_iter();
        functions.extend(names.map(|name| json!({ "module": module, "name": name })));
    }
    let full_names = |functions: &Value| {
        let functions = functions.as_array().into_iter().flatten();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        functions.map(|it| format!("{}/{}", text(&it["module"]), text(&it["name"]))).collect::<Vec<_>>()
    };
    // No single response has them all.
    let response = json!({ "data": functions });
    listing.show(&response.to_string(), full_names, || Ok(lines(full_names(&response["data"]))))
}

/// Prints a function: unless something else is asked for, as JSON for people.
fn get(response: &str, output: Output) -> anyhow::Result<()> {
    match output.format() {
        None => output::raw(&format!("{}\n", serde_json::to_string_pretty(&data::<Value>(response)?)?)),
        Some(_) => output.show(response, || shown::text(response)),
    }
}
