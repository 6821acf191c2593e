//! How far the outbox has been read for a binding.

/// The outbox is read page by page, and from time to time from the start again.
#[derive(Debug)]
pub(super) struct ReadCursor {
    after: i64,
    /// There may be rows after `after`.
    more: bool,
    /// The next page is the first one.
    from_start: bool,
    is_in_progress: bool,
}

impl ReadCursor {
    pub(super) fn new() -> Self {
        Self { after: 0, more: true, from_start: true, is_in_progress: false }
    }

    /// Reads on: there may be new rows after those that were read.
    pub(super) fn resume(&mut self) {
        self.more = true;
    }

    /// Reads from the start again: there may be new rows anywhere.
    pub(super) fn restart(&mut self) {
        (self.from_start, self.more) = (true, true);
    }

    /// Begins to read the next page, if there may be rows in it. Returns the `seq` after which it starts.
    pub(super) fn begin(&mut self) -> Option<i64> {
        if self.is_in_progress || !std::mem::take(&mut self.more) {
            return None;
        }
        self.is_in_progress = true;
        if std::mem::take(&mut self.from_start) {
            self.after = 0;
        }
        Some(self.after)
    }

    /// Ends the read. `last` is the page's last row, if it had any; `more` says whether there may be more.
    pub(super) fn end(&mut self, last: Option<i64>, more: bool) {
        self.is_in_progress = false;
        self.after = last.unwrap_or(self.after);
        self.more |= more;
    }

    pub(super) fn is_in_progress(&self) -> bool {
        self.is_in_progress
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_read_while_there_may_be_more() {
        let mut cursor = ReadCursor::new();
        assert_eq!(cursor.begin(), Some(0));
        assert_eq!(cursor.begin(), None, "one at a time");
        cursor.end(Some(7), true);
        assert_eq!(cursor.begin(), Some(7));
        cursor.end(None, false);
        assert_eq!(cursor.begin(), None, "nothing more");
        cursor.resume();
        assert_eq!(cursor.begin(), Some(7));
    }

    #[test]
    fn requests_during_a_read_are_kept() {
        let mut cursor = ReadCursor::new();
        assert_eq!(cursor.begin(), Some(0));
        cursor.restart();
        cursor.end(Some(7), false);
        assert_eq!(cursor.begin(), Some(0), "from the start");
        cursor.resume();
        cursor.end(Some(9), false);
        assert_eq!(cursor.begin(), Some(9));
    }
}
