//! The kinds of stores. A kind is one file here and one arm of the `match`.

mod couchdb;

use proto::registry::v1::Binding;

/// The `type` of every kind, for messages.
const KINDS: &str = "couchdb";

/// Whether the binding's kind exists and takes its parameters. An error says what was expected.
pub fn check(binding: &Binding) -> Result<(), String> {
    match binding.r#type.as_str() {
        "couchdb" => couchdb::Params::parse(&binding.params).map(drop),
        other => {
            Err(format!("not_implemented: there are no sinks of type {other:?}; expected one of: {KINDS}"))
        }
    }
}
