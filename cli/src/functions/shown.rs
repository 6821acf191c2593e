//! `fl fn get --output table`.

use serde::Deserialize;

use crate::args::Role;
use crate::client::data;
use crate::states::{self, Binding};
use crate::table::Table;

#[derive(Deserialize)]
struct Function {
    name: String,
    module: String,
    creator: String,
    hash: Option<String>,
    size: u64,
    kind: String,
    metadata: Metadata,
    limits: Limits,
    events: Vec<Binding>,
    sinks: Vec<Binding>,
    created_at: String,
    updated_at: String,
}

#[derive(Deserialize)]
struct Metadata {
    tag: String,
    capacity: u64,
    idempotent: bool,
    script: String,
}

/// Absent: the worker's default.
#[derive(Deserialize)]
struct Limits {
    memory_bytes: Option<u64>,
    timeout_ms: Option<u64>,
    output_bytes: Option<u64>,
}

/// A function for people.
pub fn text(response: &str) -> anyhow::Result<String> {
    let function: Function = data(response)?;
    let mut table = Table::new(&["function", &format!("{}/{}", function.module, function.name)]);
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    let or_none = |text: String| if text.is_empty() { "none".to_owned() } else { text };
    line("creator", or_none(function.creator));
    line("code", format!("{}, {}", function.kind.replace('_', " "), bytesize::ByteSize(function.size)));
    line("hash", function.hash.unwrap_or_else(|| "unknown".to_owned()));
    line("tag", or_none(function.metadata.tag));
    line("capacity", format!("{} KB", function.metadata.capacity));
    line("script", or_none(function.metadata.script));
    line("idempotent", if function.metadata.idempotent { "yes" } else { "no" }.to_owned());
    let limit = |limit: Option<u64>, unit: &str| {
        limit.map_or_else(|| "the worker's".to_owned(), |limit| format!("{limit} {unit}"))
    };
    line("memory limit", limit(function.limits.memory_bytes, "bytes"));
    line("time limit", limit(function.limits.timeout_ms, "ms"));
    line("output limit", limit(function.limits.output_bytes, "bytes"));
    line("created", function.created_at);
    line("updated", function.updated_at);
    let mut text = format!("{table:#}");
    for (title, role, bindings) in
        [("events", Role::Event, function.events), ("sinks", Role::Sink, function.sinks)]
    {
        if !bindings.is_empty() {
            text.push_str(&format!("\n{title}\n"));
        }
        for binding in bindings {
            text.push_str(&format!("{:#}", states::status(role, &binding)));
        }
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_is_a_table() {
        let response = r#"{"data":{"id":"1","name":"f","module":"m","creator":"ann","hash":"5e5e","size":2048,
            "kind":"wasi_command","metadata":{"tag":"","capacity":64,"idempotent":true,"script":"near"},
            "limits":{"memory_bytes":null,"timeout_ms":500,"output_bytes":null},
            "events":[{"id":"e","type":"cron","state":"connected","since":null,"message":null,
                       "last_event_at":null,"counts":null}],
            "sinks":[],"created_at":"C","updated_at":"U"}}"#;
        let text = anstream::adapter::strip_str(&text(response).expect("a function")).to_string();
        let expected = "\
function      m/f
creator       ann
code          wasi command, 2.0 KiB
hash          5e5e
tag           none
capacity      64 KB
script        near
idempotent    yes
memory limit  the worker's
time limit    500 ms
output limit  the worker's
created       C
updated       U

events
cron          e
  state       connected
  last event  none yet
";
        assert_eq!(text, expected);
    }
}
