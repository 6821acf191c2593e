//! `fl fn test`.

use anyhow::ensure;

use super::cases::Case;
use super::code;
use super::worker::{Ended, FunctionRunner};
use crate::args::Test;

/// Runs all cases, one after the other, and prints how each ended. Fails if one fails.
pub async fn run(options: Test) -> anyhow::Result<()> {
    let cases = Case::read_all(&options.folder)?;
    ensure!(!cases.is_empty(), "no test cases: expected files {}/tests/*.json", options.folder.display());
    let function = code::build(&options.folder).await?;
    let mut runner = FunctionRunner::start(&function.module, &function.name, &options.limits)?;
    runner.load(function.code, &function.file)?;
    let mut failed = 0;
    for Case { name, args, expected } in &cases {
        let mut log = Vec::new();
        let Ended { result, .. } = runner.invoke(args, |line| log.push(line.to_owned())).await;
        match expected.check(result) {
            Ok(()) => println!("ok    {name}"),
            Err(mismatch) => {
                failed += 1;
                println!("FAIL  {name}");
                mismatch.to_string().lines().for_each(|line| println!("      {line}"));
                log.iter().for_each(|line| println!("      log: {line}"));
            }
        }
    }
    runner.stop().await;
    println!("\n{} of {} cases passed", cases.len() - failed, cases.len());
    ensure!(failed == 0, "{failed} of {} cases failed", cases.len());
    Ok(())
}
