//! Greets people: `{"name":"Ada"}` gives `{"payload":"Hello Ada!"}`. With a `url`, the result has the status that it
//! responds with.

use fl_wasm_rs::prelude::*;
use serde_json::{json, Value};

#[derive(FLFunction)]
pub struct Hello;

pub fn fl_main(arguments: Value) -> FLResult {
    let text = |key: &str| arguments.get(key).and_then(Value::as_str).filter(|text| !text.is_empty());
    let Some(name) = text("name") else {
        return Err(FLError::ExecError("\"name\" is missing".into()));
    };
    console_log(&format!("greeting {name}"));
    let mut greeting = json!({ "payload": format!("Hello {name}!") });
    if let Some(url) = text("url") {
        let request = FLRequest::new().with_uri(url.into()).with_method("GET".into());
        greeting["status"] = json!(request.send().status);
    }
    Ok(greeting)
}
