//! What is wrong with a JSON text.

use std::fmt::{self, Display};

use serde::de::{self, Expected, Unexpected};

/// What is wrong. The scanner knows where.
#[derive(Debug)]
pub(super) struct Error(Box<str>);

impl Error {
    pub(super) fn new(message: &str) -> Self {
        Self(message.into())
    }
}

impl Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Error {}

impl de::Error for Error {
    #[cold]
    fn custom<T: Display>(message: T) -> Self {
        Self(message.to_string().into())
    }

    #[cold]
    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("invalid type: {}, expected {expected}", Found(found)).into())
    }

    #[cold]
    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self(format!("invalid value: {}, expected {expected}", Found(found)).into())
    }
}

/// What was found. Unlike that of serde, it does not contain the code that formats floating-point numbers.
struct Found<'a>(Unexpected<'a>);

impl Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Unexpected::Bool(true) => "true",
            Unexpected::Bool(false) => "false",
            Unexpected::Unsigned(number) => return write!(f, "integer {number}"),
            Unexpected::Signed(number) => return write!(f, "integer {number}"),
            Unexpected::Float(_) => "floating point number",
            Unexpected::Char(_) => "character",
            Unexpected::Str(text) => return write!(f, "string \"{text}\""),
            Unexpected::Bytes(_) => "bytes",
            Unexpected::Unit | Unexpected::Option => "null",
            Unexpected::NewtypeStruct => "newtype struct",
            Unexpected::Seq => "array",
            Unexpected::Map => "object",
            Unexpected::Enum => "enum",
            Unexpected::UnitVariant => "string",
            Unexpected::NewtypeVariant | Unexpected::TupleVariant | Unexpected::StructVariant => "object",
            Unexpected::Other(what) => what,
        })
    }
}
