//! The source of a function in a folder: what `function.toml` says about it, templates, and how it is built.

mod build;
mod files;
mod language;
mod manifest;
mod personal;
mod program;
mod progress;
mod quickjs;
pub mod template;
mod vendor;

pub use self::build::{Project, read_wasm};
pub use self::language::Language;
pub use self::manifest::{Binding, Manifest};
pub use self::program::run as run_program;
pub use self::progress::spinner;
pub use self::template::Template;
