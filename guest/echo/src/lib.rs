//! Answers with its arguments, whatever they are.

use funless::serde_json::Value;

/// Returns its arguments.
#[funless::function]
pub fn echo(arguments: Value) -> Value {
    arguments
}
