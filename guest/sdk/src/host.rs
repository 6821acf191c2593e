//! The host of a function: FunLess, or in native tests [`testing::Host`](crate::testing::Host).

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(target_arch = "wasm32")]
mod wasm;

#[cfg(not(target_arch = "wasm32"))]
pub(crate) use self::native::{Current, Responder, log_line, send, send_within};
#[cfg(target_arch = "wasm32")]
pub(crate) use self::wasm::{input, insert_error, insert_response, log_line, send, send_within};
