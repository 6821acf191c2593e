//! Validates JSON that is passed on unchanged.

use serde::Deserialize as _;
use serde::de::IgnoredAny;

/// Formats an error with its position first: `line 1 column 7: expected ...`.
pub(crate) fn problem(error: &serde_json::Error) -> String {
    let (line, column) = (error.line(), error.column());
    let words = error.to_string();
    let what = words.strip_suffix(&format!(" at line {line} column {column}"));
    match what {
        Some(what) => format!("line {line} column {column}: {what}"),
        None => words,
    }
}

/// Checks that `bytes` are one JSON value, of any depth. An error states the problem.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let text = std::str::from_utf8(bytes)
        .map_err(|error| format!("it is not UTF-8: byte {} is not a character", error.valid_up_to()))?;
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let read = IgnoredAny::deserialize(&mut deserializer).and_then(|_| deserializer.end());
    read.map_err(|error| problem(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_json_value_is_valid() {
        let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
        for text in ["{}", " [1, 2]\n", "null", "\"\\ud800\"", "1e400", &deep] {
            assert_eq!(check(text.as_bytes()), Ok(()), "{}", &text[..text.len().min(20)]);
        }
    }

    #[test]
    fn errors_have_a_position() {
        let cases: [(&[u8], &str); 5] = [
            (b"{\n  nope}", "line 2 column 3: key must be a string"),
            (b"[1,]", "line 1 column 4: expected value"),
            (b"1 2", "line 1 column 3: trailing characters"),
            (b" ", "line 1 column 1: EOF while parsing a value"),
            (b"\"\xff\"", "it is not UTF-8: byte 1 is not a character"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(check(bytes), Err(expected.to_owned()));
        }
    }
}
