//! `fl fn dev`.

use std::path::Path;
use std::pin::pin;
use std::time::{Duration, Instant};

use anyhow::Context as _;
use mesh::printable;

use super::cases::Case;
use super::code;
use super::code::Function;
use super::watch::Watcher;
use super::worker::{Ended, FunctionRunner};
use crate::args::{Dev, Input, LocalLimits, Target};
use crate::client::{Client, Refusal};
use crate::functions::{
    Invocation, Invoked, Mode, NewFunction, Waterfall, arguments, compact, invoke_function, log_of_trace,
    trace_id, upload_function,
};
use crate::project::Manifest;

/// Builds, uploads and invokes the function, now and after each save, until the user stops it.
pub async fn run(options: Dev, target: &Target) -> anyhow::Result<()> {
    let Dev { folder, input, trace, local, limits } = options;
    let folder = folder.canonicalize().with_context(|| format!("cannot read {}", folder.display()))?;
    // What needs no function fails before anything is watched.
    let client = if local { None } else { Some(Client::new(target)?) };
    if client.is_some() {
        // Only a manifest says what the function is called in the mesh.
        Manifest::read(&folder)?;
    }
    let args = args_of(input, &folder)?;
    let mut watcher = Watcher::start(&folder, code::prebuilt(&folder)?.as_deref())?;
    let mut stage = Stage { folder: &folder, args, trace, limits, client, runner: None };
    let mut stop = pin!(mesh::shutdown::requested());
    let mut saved = Instant::now();
    loop {
        let round = async {
            stage.show_round(saved).await;
            eprintln!("waiting for a change; stop with Ctrl-C");
            watcher.changed().await
        };
        saved = tokio::select! {
            stopped = &mut stop => break stopped?,
            changed = round => changed?,
        };
    }
    stage.stop().await;
    Ok(())
}

/// The arguments of the command line, those of the first test case, or none.
fn args_of(input: Input, folder: &Path) -> anyhow::Result<String> {
    if input.input.is_none() && input.args.is_empty() {
        let first = Case::read_all(folder)?.into_iter().next();
        if let Some(Case { name, args, .. }) = first {
            eprintln!("arguments of the first test case, {name}: {}", compact(&args));
            return Ok(args);
        }
    }
    arguments(("--input", input.input), input.args)
}

/// Where the function runs.
struct Stage<'a> {
    folder: &'a Path,
    /// JSON text.
    args: String,
    trace: bool,
    limits: LocalLimits,
    /// The mesh; absent if the function runs on this machine.
    client: Option<Client>,
    /// Runs it on this machine, once it has been built.
    runner: Option<FunctionRunner>,
}

impl Stage<'_> {
    /// Shows what a save comes to. A failure is shown, too: the next save may mend it.
    async fn show_round(&mut self, saved: Instant) {
        if let Err(error) = self.round().await {
            if let Some(message) =
                error.downcast_ref::<Refusal>().and_then(|refusal| refusal.message.as_ref())
            {
                eprintln!("{}", printable::lines(message));
            }
            eprintln!("error: {}", printable::lines(&format!("{error:#}")));
        }
        eprintln!("{} from save to result", ms(saved.elapsed()));
    }

    async fn round(&mut self) -> anyhow::Result<()> {
        let begun = Instant::now();
        let function = code::build(self.folder).await?;
        eprintln!("\n{}/{}: built in {}", function.module, function.name, ms(begun.elapsed()));
        let result = match self.client.clone() {
            Some(client) => self.invoke_in_mesh(&client, function).await?,
            None => self.invoke_here(function).await?,
        };
        println!("{}", compact(&result));
        Ok(())
    }

    async fn invoke_here(&mut self, function: Function) -> anyhow::Result<String> {
        let runner = match &mut self.runner {
            Some(runner) => runner,
            none => none.insert(FunctionRunner::start(&function.module, &function.name, &self.limits)?),
        };
        runner.load(function.code, &function.file)?;
        let Ended { result, receipt } = runner.invoke(&self.args, |line| eprintln!("log: {line}")).await;
        if self.trace {
            eprint!("{}", Waterfall::of_receipt(&receipt));
        }
        Ok(result?)
    }

    async fn invoke_in_mesh(&self, client: &Client, function: Function) -> anyhow::Result<String> {
        let Function { module, name, code, metadata, .. } = function;
        let begun = Instant::now();
        let upload =
            NewFunction { module: &module, name: &name, metadata, wait: true, ..NewFunction::default() };
        let uploaded = upload_function(client, &upload, code, Mode::CreateOrUpdate).await?;
        eprintln!("uploaded in {}", ms(begun.elapsed()));
        for warning in uploaded.warnings()? {
            eprintln!("warning: {warning}");
        }
        let args = self.args.clone();
        let invocation = Invocation { module, name, args, ..Invocation::default() };
        let begun = Instant::now();
        let Invoked { headers, result, .. } = invoke_function(client, &invocation).await?;
        let waited = begun.elapsed();
        if let Some(trace) = trace_id(&headers) {
            for line in log_of_trace(client, &invocation, &trace).await? {
                eprintln!("log: {}", printable::line(&line));
            }
        }
        eprintln!("invoked in {}", ms(waited));
        if self.trace {
            eprint!("{}", Waterfall::of(&headers, waited));
        }
        result
    }

    async fn stop(self) {
        if let Some(runner) = self.runner {
            runner.stop().await;
        }
    }
}

fn ms(time: Duration) -> String {
    format!("{:.0} ms", time.as_secs_f64() * 1000.0)
}
