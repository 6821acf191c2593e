//! What functions have logged: the latest lines, and those to come for whoever listens.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use prometheus::IntGauge;
use tokio::sync::watch;

/// What a line costs beside its text, in bytes.
const LINE_OVERHEAD: usize = 128;

/// The log of all functions on this worker. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Logs(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    ring: Mutex<Ring>,
    /// How many lines there have been.
    count: watch::Sender<u64>,
    most_bytes: usize,
    shown: IntGauge,
}

#[derive(Debug, Default)]
struct Ring {
    lines: VecDeque<Arc<Line>>,
    bytes: usize,
    /// The number of the oldest line that is remembered.
    first: u64,
}

/// One line.
#[derive(Debug)]
pub(crate) struct Line {
    /// Unix time in microseconds.
    pub(crate) at_us: i64,
    pub(crate) text: String,
    pub(crate) source: Arc<Source>,
}

/// Whose a line is: one invocation's.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Source {
    /// `module/name`.
    pub(crate) function: String,
    pub(crate) function_id: String,
    pub(crate) invocation_id: String,
    /// Empty: none.
    pub(crate) trace_id: String,
}

/// Reads the lines of all functions, from the oldest that is remembered. It keeps none: who reads too
/// slowly misses some.
pub(crate) struct Reader {
    logs: Logs,
    /// The number of the line that comes next.
    next: u64,
    count: watch::Receiver<u64>,
}

/// What a reader has read.
#[derive(Debug, Default)]
pub(crate) struct Read {
    /// Oldest first.
    pub(crate) lines: Vec<Arc<Line>>,
    /// The number of the first of them.
    pub(crate) first: u64,
    /// Lines before these that were forgotten before they were read.
    pub(crate) missed: u64,
}

impl Logs {
    /// Remembers as many bytes of lines, and shows in `shown` how many it does.
    pub(crate) fn new(most_bytes: usize, shown: IntGauge) -> Self {
        let (ring, count) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Inner { ring, count, most_bytes, shown }))
    }

    /// Takes a line. The oldest make room for it.
    pub(crate) fn push(&self, source: &Arc<Source>, text: String) {
        let line = Arc::new(Line { at_us: now_us(), text, source: Arc::clone(source) });
        let mut ring = self.0.ring.lock();
        ring.bytes += line.bytes();
        ring.lines.push_back(line);
        while ring.bytes > self.0.most_bytes
            && let Some(oldest) = ring.lines.pop_front()
        {
            ring.bytes -= oldest.bytes();
            ring.first += 1;
        }
        self.0.shown.set(i64::try_from(ring.bytes).unwrap_or(i64::MAX));
        self.0.count.send_replace(ring.end());
    }

    /// Reads from the oldest line on.
    pub(crate) fn read(&self) -> Reader {
        let (next, count) = (self.0.ring.lock().first, self.0.count.subscribe());
        Reader { logs: self.clone(), next, count }
    }
}

impl Reader {
    /// The lines that there are by now.
    pub(crate) fn read(&mut self) -> Read {
        let ring = self.logs.0.ring.lock();
        let missed = ring.first.saturating_sub(self.next);
        let first = self.next.max(ring.first);
        let read = usize::try_from(first - ring.first).unwrap_or(usize::MAX);
        self.next = ring.end();
        Read { lines: ring.lines.iter().skip(read).cloned().collect(), first, missed }
    }

    /// Waits until there are lines to read.
    pub(crate) async fn wait(&mut self) {
        let next = self.next;
        // The sender is in `logs`, which this holds.
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
        let Source { function, function_id, invocation_id, trace_id } = &*self.source;
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

    fn logs(most_bytes: usize) -> (Logs, IntGauge) {
        let shown = IntGauge::new("bytes", "bytes").expect("well-formed");
        (Logs::new(most_bytes, shown.clone()), shown)
    }

    fn texts(read: &Read) -> Vec<&str> {
        read.lines.iter().map(|line| &*line.text).collect()
    }

    #[test]
    fn the_latest_lines_are_remembered() {
        let (logs, shown) = logs(2 * (LINE_OVERHEAD + 1));
        let source = Arc::new(Source::default());
        for text in ["a", "b", "c"] {
            logs.push(&source, text.into());
        }
        assert_eq!(texts(&logs.read().read()), ["b", "c"]);
        assert_eq!(shown.get(), 2 * (LINE_OVERHEAD as i64 + 1));
        logs.push(&source, "x".repeat(10_000));
        assert_eq!(logs.read().read().lines.len(), 0, "what is larger than all of the room is not kept");
        assert_eq!(shown.get(), 0);
    }

    #[tokio::test]
    async fn a_reader_gets_each_line_once_and_learns_what_it_missed() {
        let (logs, _) = logs(2 * (LINE_OVERHEAD + 1));
        let source = Arc::new(Source::default());
        logs.push(&source, "a".into());
        let mut reader = logs.read();
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
