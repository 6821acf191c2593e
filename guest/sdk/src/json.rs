//! Values from JSON.
//!
//! `serde_json` does the same with three times the code, most of it for its error messages and for numbers that
//! nobody asked for. A function is small if it does not contain them.

mod access;
mod deserializer;
mod error;
mod scanner;
#[cfg(test)]
mod tests;

use serde::Deserialize;

use self::scanner::Scanner;

/// The value with this JSON text, or what is wrong with the text.
pub(crate) fn from_slice<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, String> {
    let text = std::str::from_utf8(json).map_err(|error| error.to_string())?;
    let mut scanner = Scanner::new(text);
    T::deserialize(&mut scanner)
        .and_then(|value| scanner.end().map(|()| value))
        .map_err(|error| scanner.locate(&error))
}
