//! How a function is called: arguments from JSON, its response to JSON.

use std::fmt::Display;

use serde::{Deserialize, Serialize};

use crate::json;

/// A function as FunLess calls it. [`function`](macro@crate::function) implements it for a type with the name
/// of the function.
pub trait Function {
    /// Calls the function with the JSON text of its arguments. Returns the JSON text of its result, or the
    /// message of its error.
    fn call(arguments: &[u8]) -> Result<Vec<u8>, String>;
}

/// The version of the interface between host and function, as [`Function`]s export it.
pub const RUNTIME_VERSION: i32 = 1;

/// The arguments, from their JSON text.
pub fn parse<'a, T: Deserialize<'a>>(arguments: &'a [u8]) -> Result<T, String> {
    json::from_slice(arguments).map_err(|error| format!("invalid arguments: {error}"))
}

/// What a function returned.
///
/// A `Result` is a value that can be serialised, too. The inherent method is for all `Result`s, since the compiler
/// prefers it; the trait's method is for other values. So an error that can be serialised, but not displayed, is not
/// taken for a part of the result:
///
/// ```compile_fail
/// #[funless::function]
/// fn fails() -> Result<u8, Vec<u8>> {
///     Ok(1)
/// }
/// ```
pub struct Returned<T>(pub T);

impl<T, E> Returned<Result<T, E>> {
    /// The JSON text of the result, or the message of the error. An error that shows its causes in its
    /// alternate form, as those of `anyhow` do, is shown with them.
    pub fn into_response(self) -> Result<Vec<u8>, String>
    where
        T: Serialize,
        E: Display,
    {
        self.0.map_err(|error| format!("{error:#}")).and_then(|value| serialize(&value))
    }
}

/// The response of a function that returns a value and cannot fail.
pub trait ReturnsValue {
    /// The JSON text of the value.
    fn into_response(self) -> Result<Vec<u8>, String>;
}

impl<T: Serialize> ReturnsValue for Returned<T> {
    fn into_response(self) -> Result<Vec<u8>, String> {
        serialize(&self.0)
    }
}

fn serialize(value: &impl Serialize) -> Result<Vec<u8>, String> {
    serde_json::to_vec(value).map_err(|error| format!("the result cannot be represented as JSON: {error}"))
}

/// Runs a function for the host: what `__invoke` does.
#[cfg(target_arch = "wasm32")]
pub fn invoke<F: Function>(length: u32) -> i32 {
    use crate::host;

    std::panic::set_hook(Box::new(|panic| host::log_line(&panic.to_string())));
    crate::logger::install();
    match F::call(&host::input(length as usize)) {
        Ok(response) => {
            host::insert_response(&response);
            0
        }
        Err(message) => {
            host::insert_error(&message);
            1
        }
    }
}
