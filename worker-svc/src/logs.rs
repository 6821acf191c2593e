//! The latest log lines of functions, and new ones for readers that follow.

use std::collections::VecDeque;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;

use crate::budget::{MemoryBudget, Reservation};

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
    /// What the memory of the lines is taken from.
    budget: MemoryBudget,
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
    _reservation: Reservation,
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
    /// Keeps `max_bytes` of lines, as far as there is memory in `budget`.
    pub(crate) fn new(max_bytes: usize, budget: MemoryBudget) -> Self {
        let (ring, count) = (Mutex::default(), watch::Sender::new(0));
        Self(Arc::new(Inner { ring, count, max_bytes, budget }))
    }

    /// Adds a line, and drops the oldest ones if there is no space, or else this one.
    pub(crate) fn push(&self, source: &Arc<LogSource>, text: String) {
        let bytes = text.len() + source.bytes() + LINE_OVERHEAD;
        let mut ring = self.0.ring.lock();
        let reservation = loop {
            let fits = ring.bytes + bytes <= self.0.max_bytes;
            let reservation = if fits { self.0.budget.reserve(bytes).ok() } else { None };
            if reservation.is_some() || !ring.drop_oldest() {
                break reservation;
            }
        };
        match reservation {
            Some(_reservation) => {
                let (at_us, source) = (now_us(), Arc::clone(source));
                ring.bytes += bytes;
                ring.lines.push_back(Arc::new(Line { at_us, text, source, _reservation }));
            }
            // There are no others then: readers miss this line.
            None => ring.first += 1,
        }
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

    /// Drops the oldest line, if there is one.
    fn drop_oldest(&mut self) -> bool {
        let Some(oldest) = self.lines.pop_front() else { return false };
        self.bytes -= oldest.bytes();
        self.first += 1;
        true
    }
}

impl Line {
    /// The memory that a line takes.
    fn bytes(&self) -> usize {
        self.text.len() + self.source.bytes() + LINE_OVERHEAD
    }
}

impl LogSource {
    fn bytes(&self) -> usize {
        let Self { function, function_id, invocation_id, trace_id } = self;
        function.len() + function_id.len() + invocation_id.len() + trace_id.len()
    }
}

fn now_us() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_micros()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus::IntGauge;

    use super::*;

    /// Logs, and what shows how many bytes they keep.
    fn logs(max_bytes: usize) -> (Logs, IntGauge) {
        let bytes_gauge = IntGauge::new("bytes", "bytes").expect("well-formed");
        (Logs::new(max_bytes, MemoryBudget::new(1 << 20, bytes_gauge.clone())), bytes_gauge)
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

    #[test]
    fn lines_make_room_for_functions() {
        const LINE: usize = LINE_OVERHEAD + 1;
        let budget =
            MemoryBudget::new(3 * LINE as u64, IntGauge::new("total", "total").expect("well-formed"));
        let (logs, source) = (Logs::new(1 << 20, budget.clone()), Arc::new(LogSource::default()));
        let mut reader = logs.reader();
        for text in ["a", "b", "c"] {
            logs.push(&source, text.into());
        }
        assert!(budget.reserve(1).is_err());
        logs.push(&source, "d".into());
        assert_eq!(texts(&logs.reader().read()), ["b", "c", "d"]);
        // New lines get only what functions leave; those that are read are held until the reader drops them.
        let held = logs.reader().read();
        logs.push(&source, "e".into());
        assert_eq!(logs.reader().read().lines.len(), 0);
        drop(held);
        let function = budget.reserve(2 * LINE).expect("dropped lines take no memory");
        logs.push(&source, "f".into());
        logs.push(&source, "g".into());
        let read = reader.read();
        assert_eq!((texts(&read), read.missed), (vec!["g"], 6));
        drop((function, read));
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
