//! How far the outbox has been read for a binding.

/// What is read is read page by page, and now and then from the front again.
#[derive(Debug)]
pub(super) struct Reading {
    after: i64,
    /// There may be something after that.
    more: bool,
    /// The next page is the first one.
    from_front: bool,
    is_under_way: bool,
}

impl Reading {
    pub(super) fn new() -> Self {
        Self { after: 0, more: true, from_front: true, is_under_way: false }
    }

    /// There is something after what was read.
    pub(super) fn go_on(&mut self) {
        self.more = true;
    }

    /// There may be something anywhere.
    pub(super) fn start_over(&mut self) {
        (self.from_front, self.more) = (true, true);
    }

    /// Begins with the next page, if there may be something in it. Gives what it comes after.
    pub(super) fn begin(&mut self) -> Option<i64> {
        if self.is_under_way || !std::mem::take(&mut self.more) {
            return None;
        }
        self.is_under_way = true;
        if std::mem::take(&mut self.from_front) {
            self.after = 0;
        }
        Some(self.after)
    }

    /// The page ended with this row, if it had any, and there may be more.
    pub(super) fn end(&mut self, last: Option<i64>, more: bool) {
        self.is_under_way = false;
        self.after = last.unwrap_or(self.after);
        self.more |= more;
    }

    pub(super) fn is_under_way(&self) -> bool {
        self.is_under_way
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_follow_each_other_as_long_as_there_may_be_more() {
        let mut reading = Reading::new();
        assert_eq!(reading.begin(), Some(0));
        assert_eq!(reading.begin(), None, "one at a time");
        reading.end(Some(7), true);
        assert_eq!(reading.begin(), Some(7));
        reading.end(None, false);
        assert_eq!(reading.begin(), None, "there is nothing");
        reading.go_on();
        assert_eq!(reading.begin(), Some(7));
    }

    #[test]
    fn what_is_asked_for_during_a_reading_is_not_forgotten() {
        let mut reading = Reading::new();
        assert_eq!(reading.begin(), Some(0));
        reading.start_over();
        reading.end(Some(7), false);
        assert_eq!(reading.begin(), Some(0), "from the front");
        reading.go_on();
        reading.end(Some(9), false);
        assert_eq!(reading.begin(), Some(9));
    }
}
