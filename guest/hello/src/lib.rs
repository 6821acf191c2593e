//! Greets: `{"name":"Ada"}` gives `{"payload":"Hello Ada!"}`.

use fl_wasm_rs::prelude::*;
use serde_json::{json, Value};

/// Exports [`fl_main`] to the platform.
#[derive(FLFunction)]
pub struct Hello;

/// Without a `name` that is text, it fails.
pub fn fl_main(args: Value) -> FLResult {
    std::panic::set_hook(Box::new(|panic| console_log(&panic.to_string())));
    let name = args.get("name").and_then(Value::as_str);
    let name = name.ok_or_else(|| FLError::ExecError("a \"name\" is needed, as text".into()))?;
    console_log(&format!("greeting {name}"));
    Ok(json!({ "payload": format!("Hello {name}!") }))
}
