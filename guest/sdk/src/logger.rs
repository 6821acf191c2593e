//! The logger behind the macros of [`log`]: each message is a line of the function's log.

use log::{LevelFilter, Log, Metadata, Record};

use crate::host;

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        host::log_line(&format!("{} {}", record.level(), record.args()));
    }

    fn flush(&self) {}
}

/// Installs the logger, at the level `Info`. Returns whether it is the first one.
pub(crate) fn install() -> bool {
    let is_first = log::set_logger(&Logger).is_ok();
    if is_first {
        log::set_max_level(LevelFilter::Info);
    }
    is_first
}
