//! Functions on this machine: `fl fn run`, `fl fn test` and `fl fn dev`.

mod cases;
mod code;
mod dev;
mod difference;
mod run;
mod test;
mod watch;
mod worker;

use crate::args::{LocalFunctions, Target};

/// Runs one of the commands.
pub async fn run(command: LocalFunctions, target: &Target) -> anyhow::Result<()> {
    match command {
        LocalFunctions::Run(options) => run::run(options).await,
        LocalFunctions::Test(options) => test::run(options).await,
        LocalFunctions::Dev(options) => dev::run(options, target).await,
    }
}
