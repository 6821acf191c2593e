//! `fl script`.

mod simulate;

pub use simulate::Simulate;

use crate::args::Scripts;
use crate::client::Client;

/// Runs one of the commands.
pub async fn run(command: Scripts, client: &Client) -> anyhow::Result<()> {
    match command {
        Scripts::Simulate(options) => simulate::run(&options, client).await,
    }
}
