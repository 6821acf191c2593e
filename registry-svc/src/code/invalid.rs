//! Why code is refused.

use super::cost::Refused;
use super::limits::Exceeded;

/// Why a binary is refused. The text describes what is wrong with the field `code`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidCode {
    #[error("can't be blank")]
    Empty,
    #[error("is not WebAssembly: it does not begin with the bytes 00 61 73 6d")]
    WrongMagic,
    #[error(
        "is a WebAssembly component, and components are not supported yet; \
         expected a core module that exports `__invoke` or `_start`"
    )]
    Component,
    #[error("is not valid WebAssembly: {reason} at byte {offset}")]
    Invalid { reason: String, offset: u64 },
    #[error("exports neither `__invoke` (a FunLess function) nor `_start` (a WASI command)")]
    NoEntry,
    #[error("exports no memory named `memory`")]
    NoMemory,
    #[error("exports `{name}` as {found}; expected {expected}")]
    WrongExport { name: &'static str, found: String, expected: String },
    #[error("imports `{module}.{name}`, which does not exist for {kind}")]
    UnknownImport { module: String, name: String, kind: &'static str },
    #[error("imports `{module}.{name}` as {found}; expected {expected}")]
    WrongImport { module: String, name: String, found: String, expected: String },
    #[error("is too complex to compile: {0}")]
    TooComplex(Exceeded),
    #[error("can never run: {0}")]
    NeverRunnable(Exceeded),
}

impl From<wasmparser::Error> for InvalidCode {
    fn from(error: wasmparser::Error) -> Self {
        Self::Invalid { reason: error.message().to_owned(), offset: error.offset() as u64 }
    }
}

impl From<Refused> for InvalidCode {
    fn from(refused: Refused) -> Self {
        match refused {
            Refused::Exceeded(exceeded) => Self::TooComplex(exceeded),
            Refused::Malformed(error) => error.into(),
        }
    }
}
