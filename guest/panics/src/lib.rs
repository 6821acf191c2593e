//! Panics: its caller gets HTTP 500, and what `message` says is in its log, with the place in the source.

use serde::Deserialize;

/// What to panic with.
#[derive(Deserialize)]
pub struct Arguments {
    message: Option<String>,
}

/// Always panics.
#[funless::function]
pub fn panics(arguments: Arguments) {
    panic!("{}", arguments.message.as_deref().unwrap_or("no message"))
}
