//! Panics: its caller gets HTTP 500, and what `message` says is in its log, with the place in the source.

use fl_wasm_rs::prelude::*;
use serde_json::Value;

/// Exports [`fl_main`] to the platform.
#[derive(FLFunction)]
pub struct Panics;

/// Always panics.
pub fn fl_main(args: Value) -> FLResult {
    std::panic::set_hook(Box::new(|panic| console_log(&panic.to_string())));
    let message = args.get("message").and_then(Value::as_str);
    panic!("{}", message.unwrap_or("no message"))
}
