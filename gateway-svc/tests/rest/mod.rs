//! The REST port.

mod admission;
mod auth;
mod bindings;
mod common;
mod conservation;
mod dead_letters;
mod docs;
mod explain;
mod functions;
mod invoke;
mod logs;
mod modules;
mod one_process;
mod outage;
mod scripts;
mod simulate;
mod states;
mod subjects;
mod workers;

use serde_json::{Value, json};

/// The envelope of an error.
fn detail(detail: &str) -> Value {
    json!({"errors": {"detail": detail}})
}

/// The envelope of a refused field.
fn refused(field: &str, message: &str) -> Value {
    json!({"errors": {field: [message]}})
}

/// The envelope of a response.
fn data(data: Value) -> Value {
    json!({"data": data})
}

const ALPHANUMERIC: &str = "must contain only alphanumeric characters and underscores";
const WASM: &str = "\0asm\u{1}\0\0\0";
