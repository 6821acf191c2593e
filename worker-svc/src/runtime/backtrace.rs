//! Where a guest trapped: the names of the functions that were running, if its module has a name section.

use std::fmt::{self, Write as _};
use std::num::NonZeroUsize;

use wasmtime::{FrameInfo, WasmBacktrace};

/// Frames of a backtrace, the most.
pub(super) const MAX_FRAMES: NonZeroUsize = NonZeroUsize::new(16).expect("it is not zero");
/// Bytes of a function's name, the most.
const MAX_NAME_BYTES: usize = 120;
/// Frames that an error message names, the most.
const FRAMES_IN_MESSAGE: usize = 3;
/// How the names of functions begin that are Rust's own: of a panic, the innermost frames are these.
const RUST_PREFIXES: [&str; 8] =
    ["core::", "std::", "alloc::", "<core::", "<std::", "<alloc::", "__rust", "rust_"];

/// The names of the functions that were running when a guest failed with `error`, the innermost first.
/// Empty if the module names none of them.
pub(super) fn frames(error: &wasmtime::Error) -> Vec<String> {
    let frames = error.downcast_ref::<WasmBacktrace>().map_or(&[][..], WasmBacktrace::frames);
    if frames.iter().all(|frame| frame.func_name().is_none()) {
        return Vec::new();
    }
    frames.iter().take(MAX_FRAMES.get()).map(name_of).collect()
}

/// The innermost of these frames that are the guest's own, as the end of an error message.
pub(super) fn in_message(frames: &[String]) -> String {
    let is_own = |name: &String| !RUST_PREFIXES.iter().any(|prefix| name.starts_with(prefix));
    let own = frames.iter().position(is_own).unwrap_or(0);
    let mut words = String::new();
    for (name, before) in
        frames[own..].iter().take(FRAMES_IN_MESSAGE).zip([", in", ", called by", ", called by"])
    {
        words.push_str(&format!("{before} {name}"));
    }
    words
}

fn name_of(frame: &FrameInfo) -> String {
    let Some(name) = frame.func_name() else { return format!("<function {}>", frame.func_index()) };
    let mut short = Shortened::default();
    // It fails when there is no more room.
    let complete = write!(short, "{:#}", rustc_demangle::demangle(name)).is_ok();
    if complete { short.0 } else { short.0 + "…" }
}

/// Text of one line and of at most `MAX_NAME_BYTES`. A mangled name can stand for a very long one.
#[derive(Default)]
struct Shortened(String);

impl fmt::Write for Shortened {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for character in text.chars() {
            if self.0.len() + character.len_utf8() > MAX_NAME_BYTES {
                return Err(fmt::Error);
            }
            self.0.push(if character.is_control() { char::REPLACEMENT_CHARACTER } else { character });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_names_the_guests_innermost_functions() {
        let message =
            |frames: &[&str]| in_message(&frames.iter().map(ToString::to_string).collect::<Vec<_>>());
        assert_eq!(message(&[]), "");
        assert_eq!(message(&["a"]), ", in a");
        assert_eq!(message(&["a", "b", "c", "d"]), ", in a, called by b, called by c");
        let panicked =
            ["__rustc::rust_begin_unwind", "core::panicking::panic_fmt", "shout::fl_main", "__invoke"];
        assert_eq!(message(&panicked), ", in shout::fl_main, called by __invoke");
        assert_eq!(message(&["std::a", "core::b"]), ", in std::a, called by core::b");
    }

    #[test]
    fn names_are_short_lines() {
        let shortened = |text: &str| {
            let mut short = Shortened::default();
            let complete = short.write_str(text).is_ok();
            (short.0, complete)
        };
        assert_eq!(shortened("a\nb"), ("a\u{fffd}b".into(), true));
        assert_eq!(shortened(&"é".repeat(60)), ("é".repeat(60), true));
        assert_eq!(shortened(&format!("x{}", "é".repeat(60))), (format!("x{}", "é".repeat(59)), false));
    }
}
