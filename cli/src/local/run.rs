//! `fl fn run`.

use super::code;
use super::worker::{Ended, FunctionRunner};
use crate::args::Run;
use crate::functions::{Waterfall, arguments, compact};

/// Invokes the function once, and prints its result.
pub async fn run(options: Run) -> anyhow::Result<()> {
    let args = arguments(("--input", options.input.input), options.input.args)?;
    let function = code::of(&options.path).await?;
    let mut runner = FunctionRunner::start(&function.module, &function.name, &options.limits)?;
    runner.load(function.code, &function.file)?;
    let Ended { result, receipt } = runner.invoke(&args, |line| eprintln!("{line}")).await;
    runner.stop().await;
    if options.trace {
        eprint!("{}", Waterfall::of_receipt(&receipt));
    }
    println!("{}", compact(&result?));
    Ok(())
}
