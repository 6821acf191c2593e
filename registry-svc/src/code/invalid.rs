//! Why code is refused.

use super::cost::Refused;
use super::interfaces::Version;
use super::limits::Exceeded;

/// Why a binary is refused. The text describes what is wrong with the field `code`.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum InvalidCode {
    #[error("can't be blank")]
    Empty,
    #[error("is not WebAssembly: it does not begin with the bytes 00 61 73 6d")]
    WrongMagic,
    #[error("is not valid WebAssembly: {reason} at byte {offset}")]
    Invalid { reason: String, offset: u64 },
    #[error("exports neither `__invoke` (a FunLess function) nor `_start` (a WASI command)")]
    NoEntry,
    #[error(
        "is a component that exports neither `wasi:http/incoming-handler` nor `wasi:cli/run`, in version 0.2 of WASI"
    )]
    NoHandler,
    #[error(
        "exports `{name}`, and components of WASI 0.3 cannot run yet; \
         expected `wasi:http/incoming-handler` or `wasi:cli/run`, in version 0.2"
    )]
    Wasi3 { name: String },
    #[error("exports `{name}` with another type than that of WASI 0.2")]
    WrongInterface { name: String },
    #[error("imports `{name}`, which does not exist for components")]
    UnknownInterface { name: String },
    #[error("imports `{name}`, which exists only in version {expected}")]
    WrongVersion { name: String, expected: Version },
    #[error("imports `{function}` of `{name}`, which does not exist")]
    UnknownFunction { name: String, function: String },
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

impl InvalidCode {
    /// What is wrong with this core module of a component.
    pub(super) fn in_core_module(self, number: u32) -> Self {
        match self {
            Self::TooComplex(exceeded) => Self::TooComplex(exceeded.in_core_module(number)),
            Self::NeverRunnable(exceeded) => Self::NeverRunnable(exceeded.in_core_module(number)),
            other => other,
        }
    }
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
