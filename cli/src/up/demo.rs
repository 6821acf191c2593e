//! `fl up --demo`: the bundled function, uploaded and invoked.

use std::time::{Duration, Instant};

use anyhow::Context as _;

use crate::client::Client;
use crate::functions::{Invocation, Mode, NewFunction, invoke_function, upload_function};
use crate::profile::Profile;

/// Compiled from `guest/hello` by `cargo xtask guests`.
const HELLO: &[u8] = include_bytes!("../../../guest/hello.wasm");
const ARGS: &str = r#"{"name":"FunLess"}"#;

/// Shows a function's way through the mesh: upload, cold call, warm call.
pub async fn run(profile: &Profile) -> anyhow::Result<()> {
    let host = profile.api_host.as_deref().context("no address")?;
    let client = Client::at(host, profile.api_token.clone().context("no token")?)?;
    println!();
    println!(
        "Demo: uploading hello ({} KB) to module _ and invoking it with {ARGS}",
        HELLO.len().div_ceil(1024)
    );
    // The workers are not waited for, so that the first call is a cold one.
    let hello = NewFunction { module: "_", name: "hello", wait: false, ..NewFunction::default() };
    upload_function(&client, &hello, HELLO.to_vec(), Mode::CreateOrUpdate).await?;
    let (answer, cold) = timed_call(&client).await?;
    let (_, warm) = timed_call(&client).await?;
    println!();
    println!("  {answer}");
    println!();
    println!("  cold call {cold:.1?}, warm call {warm:.1?}");
    Ok(())
}

async fn timed_call(client: &Client) -> anyhow::Result<(String, Duration)> {
    let (module, name, args) = ("_".to_owned(), "hello".to_owned(), ARGS.to_owned());
    let invocation = Invocation { module, name, args, ..Invocation::default() };
    let start = Instant::now();
    let answer = invoke_function(client, &invocation).await?.result?;
    Ok((answer, start.elapsed()))
}
