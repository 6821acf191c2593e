//! `fl console`: a link to the console.

use anyhow::Context as _;

use crate::client::Client;

/// Prints a link that signs in once.
pub async fn run(client: &Client) -> anyhow::Result<()> {
    let link = client.console_link().await?;
    println!("{}", link.context("this gateway serves no console; set console=true for it")?);
    Ok(())
}
