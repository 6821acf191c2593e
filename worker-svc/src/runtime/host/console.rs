//! A guest's log: each line is a record of the worker's log, and is kept for readers.

use std::sync::Arc;

use mesh::printable;
use parking_lot::Mutex;

use crate::budget::{Exhausted, HeldBuffer, MemoryBudget};
use crate::error::Error;
use crate::logs::{LogSource, Logs};
use crate::runtime::excerpt::Tail;

/// The last line of a log that is over its limit.
const OVER_LIMIT: &str = "the rest of this invocation's log is dropped: it is over its limit";

/// The log of one invocation. Clones write to the same.
#[derive(Debug, Clone)]
pub(crate) struct Console(Arc<Mutex<Lines>>);

#[derive(Debug)]
struct Lines {
    logs: Logs,
    source: Arc<LogSource>,
    /// Bytes that may still be logged.
    left: usize,
    full: bool,
    /// What a stream has written since its last line break.
    unfinished: HeldBuffer,
    /// The end of what streams have written.
    tail: Tail,
}

impl Console {
    /// A log of at most `limit` bytes, whose lines go to `logs`. What is held until a line is complete is taken from
    /// `budget`.
    pub(crate) fn new(logs: Logs, source: LogSource, limit: usize, budget: &MemoryBudget) -> Self {
        let (source, unfinished, tail) = (Arc::new(source), HeldBuffer::new(budget), Tail::default());
        Self(Arc::new(Mutex::new(Lines { logs, source, left: limit, full: false, unfinished, tail })))
    }

    /// Logs one message, each of its lines by itself.
    pub(crate) fn log(&self, message: &[u8]) {
        let mut lines = self.0.lock();
        message.split(|byte| *byte == b'\n').for_each(|line| lines.log(line));
    }

    /// Logs why the guest failed and the functions that were running, also when the log is full.
    pub(crate) fn failed(&self, error: &Error, frames: &[String]) {
        let lines = self.0.lock();
        lines.record(error.to_string());
        frames.iter().for_each(|name| lines.record(format!("    at {name}")));
    }

    /// Logs what is written to a stream, line by line.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Exhausted> {
        let mut lines = self.0.lock();
        lines.tail.extend(bytes);
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            // Nothing over the limit is kept.
            let kept = piece.len().min((lines.left + 1).saturating_sub(lines.unfinished.len()));
            lines.unfinished.extend(&piece[..kept])?;
            if piece.ends_with(b"\n") {
                lines.finish();
            }
        }
        Ok(())
    }

    /// Logs what was written after the last line break.
    pub(crate) fn finish(&self) {
        self.0.lock().finish();
    }

    /// The end of what streams have written, also of what is over the limit of the log.
    pub(crate) fn tail(&self) -> String {
        self.0.lock().tail.text()
    }
}

impl Lines {
    fn finish(&mut self) {
        let line = self.unfinished.take();
        self.log(&line);
    }

    /// Logs one line, unless it is empty.
    fn log(&mut self, line: &[u8]) {
        if self.full {
            return;
        }
        let line = line.trim_ascii_end();
        let kept = &line[..line.len().min(self.left)];
        self.left -= kept.len();
        if !kept.is_empty() {
            self.record(String::from_utf8_lossy(kept).into_owned());
        }
        if kept.len() < line.len() {
            self.full = true;
            self.record(OVER_LIMIT.to_owned());
        }
    }

    fn record(&self, line: String) {
        let LogSource { function, invocation_id, .. } = &*self.source;
        tracing::info!(target: "guest", function, invocation = invocation_id, "{}", printable::line(&line));
        self.logs.push(&self.source, line);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::tests::budget;

    fn write(console: &Console, bytes: &[u8]) {
        console.write(bytes).expect("there is memory");
    }

    /// The lines in the worker's log, which must be those that are kept.
    fn logged(limit: usize, write: impl FnOnce(&Console)) -> Vec<String> {
        let budget = budget(1 << 20);
        let logs = Logs::new(1 << 20, budget.clone());
        let source = LogSource { function: "m/f".into(), invocation_id: "i".into(), ..LogSource::default() };
        let log = crate::runtime::testing::capture_log(|| {
            let console = Console::new(logs.clone(), source.clone(), limit, &budget);
            write(&console);
            console.finish();
        });
        let kept = logs.reader().read().lines;
        assert!(kept.iter().all(|line| *line.source == source));
        let logged: Vec<_> = log.lines().map(str::to_owned).collect();
        assert_eq!(logged, kept.iter().map(|line| line.text.clone()).collect::<Vec<_>>());
        logged
    }

    #[test]
    fn lines() {
        let lines = logged(100, |console| {
            console.log(b"whole\xff\nin two\r\n\n");
            write(console, b"one\ntw");
            write(console, b"o\r\n\nrest");
        });
        assert_eq!(lines, ["whole\u{fffd}", "in two", "one", "two", "rest"]);
    }

    #[test]
    fn over_the_limit_is_dropped_with_one_note() {
        assert_eq!(
            logged(5, |console| (0..100).for_each(|_| console.log(b"1234"))),
            ["1234", "1", OVER_LIMIT]
        );
        assert_eq!(logged(5, |console| write(console, &[b'x'; 1000])), ["xxxxx", OVER_LIMIT]);
        assert_eq!(logged(8, |console| (0..2).for_each(|_| console.log(b"1234"))), ["1234", "1234"]);
    }
}
