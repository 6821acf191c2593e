//! A function with the published SDK of FunLess: `{"name":"Ada"}` gives `{"payload":"Hello Ada!"}`, and
//! `{"url":"http://example.org/"}` gives `{"status":200,"body":"..."}`.

use fl_wasm_rs::prelude::*;
use serde_json::{json, Value};

/// Exports [`fl_main`] to the platform.
#[derive(FLFunction)]
pub struct PublishedSdk;

/// Fails without a `name` or `url`.
pub fn fl_main(args: Value) -> FLResult {
    let text = |key: &str| args.get(key).and_then(Value::as_str).map(str::to_owned);
    if let Some(url) = text("url") {
        let request = FLRequest::new().with_uri(url).with_method("POST".into()).with_body("this".into());
        let response = request.with_header("X-From".into(), "a:b".into()).send();
        return Ok(json!({ "status": response.status, "body": response.body }));
    }
    let name = text("name").ok_or_else(|| FLError::ExecError("a \"name\" is needed, as text".into()))?;
    console_log(&format!("greeting {name}"));
    Ok(json!({ "payload": format!("Hello {name}!") }))
}
