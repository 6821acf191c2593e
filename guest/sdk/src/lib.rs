#![doc = include_str!("../README.md")]
#![allow(clippy::test_attr_in_doctest, reason = "the first example is a file, too, and there its tests run")]

mod error;
mod function;
mod host;
pub mod http;
mod json;
mod logger;
#[cfg(not(target_arch = "wasm32"))]
pub mod testing;

pub use funless_macros::function;
pub use log;
pub use serde_json;

pub use self::error::Error;
pub use self::function::Function;

/// What `#[function]` expands to.
#[doc(hidden)]
pub mod __private {
    #[cfg(target_arch = "wasm32")]
    pub use crate::function::invoke;
    pub use crate::function::{RUNTIME_VERSION, Returned, ReturnsValue, parse};
}
