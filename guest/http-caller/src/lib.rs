//! Calls an HTTP server: `{"url":"http://example.org/"}` gives `{"status":200,"body":"..."}`.
//!
//! `method` is GET where nothing else is said, `body` is the text to send, and `headers` is an object
//! of texts.

use fl_wasm_rs::prelude::*;
use serde_json::{json, Map, Value};

/// Exports [`fl_main`] to the platform.
#[derive(FLFunction)]
pub struct HttpCaller;

/// Fails without a `url`, and when the server cannot be reached.
pub fn fl_main(args: Value) -> FLResult {
    std::panic::set_hook(Box::new(|panic| console_log(&panic.to_string())));
    let text = |key: &str| args.get(key).and_then(Value::as_str).map(str::to_owned);
    let url = text("url").ok_or_else(|| FLError::ExecError("a \"url\" is needed, as text".into()))?;

    let mut request = FLRequest::new()
        .with_uri(url.clone())
        .with_method(text("method").unwrap_or_else(|| "GET".into()))
        .with_body(text("body").unwrap_or_default());
    for (name, value) in args.get("headers").and_then(Value::as_object).unwrap_or(&Map::new()) {
        let value = value.as_str().ok_or_else(|| FLError::ExecError(format!("header {name} is not text")))?;
        request = request.with_header(name.clone(), value.to_owned());
    }

    let response = request.send();
    if response.status == 0 {
        return Err(FLError::ExecError(format!("{url} cannot be reached")));
    }
    Ok(json!({ "status": response.status, "body": response.body }))
}
