//! The latest log lines of functions, and new ones for readers that follow.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::watch;

/// Memory of a line beside its text, in bytes.
const LINE_OVERHEAD: usize = 128;

/// The log of all functions on this worker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Logs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ring: Mutex<Ring>,
    /// How many lines there have been.
    count: watch::Sender<u64>,
    max_bytes: usize,
    bytes_gauge: IntGauge,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// The number of the oldest line that is kept.
    first: u64,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Line {
    /// Unix time in microseconds.
    pub(crate) at_us: i64,
    pub(crate) text: String,
    pub(crate) source: Arc<LogSource>,
}

/// The invocation that has logged a line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct LogSource {
    /// `module/name`.
    pub(crate) function: String,
    pub(crate) function_id: String,
    pub(crate) invocation_id: String,
    /// Empty: none.
    pub(crate) trace_id: String,
}

/// Reads the lines of all functions, from the oldest that is kept. Slow readers miss lines.
pub(crate) struct Reader {
    logs: Logs,
    /// The number of the next line to read.
    next: u64,
    count: watch::Receiver<u64>,
}

/// Lines that were read at once.
#[derive(Debug, Default)]
pub(crate) struct LineBatch {
    /// Oldest first.
    pub(crate) lines: Vec<Arc<Line>>,
    /// The number of the first of them.
    pub(crate) first: u64,
    /// How many lines before these were dropped before they were read.
    pub(crate) missed: u64,
}

impl Logs {
    /// Keeps `max_bytes` of lines, and sets `bytes_gauge` to how many it keeps.
    pub(crate) fn new(max_bytes: usize, bytes_gauge: IntGauge) -> Self {
        let (ring, count) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Inner { ring, count, max_bytes, bytes_gauge }))
    }

    /// Adds a line, and drops the oldest ones if there is no space.
    pub(crate) fn push(&self, source: &Arc<LogSource>, text: String) {
        let line = Arc::new(Line { at_us: now_us(), text, source: Arc::clone(source) });
        let mut ring = self.0.ring.lock();
        ring.bytes += line.bytes();
        ring.lines.push_back(line);
        while ring.bytes > self.0.max_bytes
            && let Some(oldest) = ring.lines.pop_front()
        {
            ring.bytes -= oldest.bytes();
            ring.first += 1;
        }
        self.0.bytes_gauge.set(i64::try_from(ring.bytes).unwrap_or(i64::MAX));
        self.0.count.send_replace(ring.end());
    }

    /// A reader that starts at the oldest line.
    pub(crate) fn reader(&self) -> Reader {
        let (next, count) = (self.0.ring.lock().first, self.0.count.subscribe());
        Reader { logs: self.clone(), next, count }
    }
}

impl Reader {
    /// The lines since the last call.
    pub(crate) fn read(&mut self) -> LineBatch {
        let ring = self.logs.0.ring.lock();
        let missed = ring.first.saturating_sub(self.next);
        let first = self.next.max(ring.first);
        let read = usize::try_from(first - ring.first).unwrap_or(usize::MAX);
        self.next = ring.end();
        LineBatch { lines: ring.lines.iter().skip(read).cloned().collect(), first, missed }
    }

    /// Waits until there are new lines.
    pub(crate) async fn wait(&mut self) {
        let next = self.next;
        // The sender is in `logs`, which this reader holds.
        let _ = self.count.wait_for(|count| *count > next).await;
    }
}

impl Ring {
    /// The number of the next line.
    fn end(&self) -> u64 {
        self.first + self.lines.len() as u64
    }
}

impl Line {
    fn bytes(&self) -> usize {
        let LogSource { function, function_id, invocation_id, trace_id } = &*self.source;
        let source = function.len() + function_id.len() + invocation_id.len() + trace_id.len();
        self.text.len() + source + LINE_OVERHEAD
    }
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn logs(max_bytes: usize) -> (Logs, IntGauge) {
        let bytes_gauge = IntGauge::new("bytes", "bytes").expect("well-formed");
        (Logs::new(max_bytes, bytes_gauge.clone()), bytes_gauge)
    }

    fn texts(read: &LineBatch) -> Vec<&str> {
        read.lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn the_latest_lines_are_kept() {
        let (logs, bytes_gauge) = logs(2 * (LINE_OVERHEAD + 1));
        let source = Arc::new(LogSource::default());
        for text in ["a", "b", "c"] {
            logs.push(&source, text.into());
        }
        assert_eq!(texts(&logs.reader().read()), ["b", "c"]);
        assert_eq!(bytes_gauge.get(), 2 * (LINE_OVERHEAD as i64 + 1));
        logs.push(&source, "x".repeat(10_000));
        assert_eq!(logs.reader().read().lines.len(), 0, "a line over the limit is not kept");
        assert_eq!(bytes_gauge.get(), 0);
    }

    #[tokio::test]
    async fn a_reader_gets_each_line_once_and_learns_what_it_missed() {
        let (logs, _) = logs(2 * (LINE_OVERHEAD + 1));
        let source = Arc::new(LogSource::default());
        logs.push(&source, "a".into());
        let mut reader = logs.reader();
        reader.wait().await;
        assert_eq!(texts(&reader.read()), ["a"]);
        assert_eq!(texts(&reader.read()), [""; 0]);
        let waiting = tokio::spawn(async move {
            reader.wait().await;
            reader
        });
        logs.push(&source, "b".into());
        let mut reader = waiting.await.expect("no panic");
        for text in ["c", "d", "e"] {
            logs.push(&source, text.into());
        }
        let read = reader.read();
        assert_eq!((texts(&read), read.missed), (vec!["d", "e"], 2));
    }
}
