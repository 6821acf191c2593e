//! Answers with its arguments, whatever they are.

use fl_wasm_rs::prelude::*;
use serde_json::Value;

/// Exports [`fl_main`] to the platform.
#[derive(FLFunction)]
pub struct Echo;

/// The function.
pub fn fl_main(args: Value) -> FLResult {
    Ok(args)
}
