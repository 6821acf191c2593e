//! What a guest can call.
//!
//! A FunLess module imports from `fl_imps`. Any module may import WASI preview 1, which reaches nothing but
//! its standard streams, clocks and random numbers. Every pointer that a guest passes is checked, in
//! `memory`. `guest` is what the host keeps for a running guest, `calls` are the host functions.

mod abi;
mod calls;
mod console;
mod guest;
mod http;
mod io;
mod memory;
mod wasi;

pub(super) use self::abi::HostCallError;
pub(super) use self::calls::linker;
pub(super) use self::console::Console;
pub(super) use self::guest::{Guest, GuestOptions};
pub(crate) use self::http::EGRESS_KIND;
pub(super) use self::http::HttpClient;
