//! Answers with its arguments, whatever they are.

use fl_wasm_rs::prelude::*;
use serde_json::Value;

/// Exports [`fl_main`] to the platform.
#[derive(FLFunction)]
pub struct Echo;

/// The function.
pub fn fl_main(args: Value) -> FLResult {
    std::panic::set_hook(Box::new(|panic| console_log(&panic.to_string())));
    Ok(args)
}
