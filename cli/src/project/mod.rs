//! The source of a function in a folder: what `function.toml` says about it, and how it is built.

// The commands that use it follow.
#![allow(dead_code, unused_imports)]

mod language;
mod manifest;

pub use self::language::Language;
pub use self::manifest::{Binding, Build, Manifest, parse_toml};
