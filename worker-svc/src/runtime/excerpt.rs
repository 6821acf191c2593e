//! Excerpts of what guests write, for messages: bounded, and cut between characters.

/// At most `most` bytes of the beginning, as text.
pub(super) fn beginning(bytes: &[u8], most: usize) -> String {
    if bytes.len() <= most {
        return String::from_utf8_lossy(bytes).into_owned();
    }
    let earliest = most.saturating_sub(LONGEST_CHARACTER - 1);
    let end = (earliest..=most).rev().find(|end| starts_character(bytes[*end])).unwrap_or(most);
    format!("{}…", String::from_utf8_lossy(&bytes[..end]))
}

/// At most `most` bytes of the end, as text without white space around it.
pub(super) fn end(bytes: &[u8], most: usize) -> String {
    let bytes = bytes.trim_ascii();
    let Some(earliest) = bytes.len().checked_sub(most).filter(|earliest| *earliest > 0) else {
        return String::from_utf8_lossy(bytes).into_owned();
    };
    let latest = bytes.len().min(earliest + LONGEST_CHARACTER - 1);
    let start = (earliest..latest).find(|start| starts_character(bytes[*start])).unwrap_or(earliest);
    format!("…{}", String::from_utf8_lossy(&bytes[start..]))
}

/// Bytes of the longest character in UTF-8.
const LONGEST_CHARACTER: usize = 4;

fn starts_character(byte: u8) -> bool {
    byte & 0b1100_0000 != 0b1000_0000
}

/// The end of what a stream has written.
#[derive(Debug, Default)]
pub(super) struct Tail(Vec<u8>);

impl Tail {
    /// Bytes of the end that are kept.
    const MOST: usize = 2 << 10;

    pub(super) fn extend(&mut self, bytes: &[u8]) {
        // One byte more than is shown tells that there was more.
        let surplus = |len: usize| len.saturating_sub(Self::MOST + 1);
        self.0.extend_from_slice(&bytes[surplus(bytes.len())..]);
        if self.0.len() > 2 * Self::MOST {
            self.0.drain(..surplus(self.0.len()));
        }
    }

    /// What is kept, as text without white space around it.
    pub(super) fn text(&self) -> String {
        end(&self.0, Self::MOST)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_beginning_is_cut_between_characters() {
        let cases: [(&[u8], usize, &str); 7] = [
            (b"", 3, ""),
            (b"abc", 3, "abc"),
            (b"abcd", 3, "abc…"),
            ("ab☕".as_bytes(), 5, "ab☕"),
            ("ab☕".as_bytes(), 4, "ab…"),
            (b"a\xff\xfe", 3, "a\u{fffd}\u{fffd}"),
            // What is not UTF-8 is bounded too.
            (&[0x80; 9], 5, "\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}…"),
        ];
        for (bytes, most, expected) in cases {
            assert_eq!(beginning(bytes, most), expected, "{bytes:?} {most}");
        }
    }

    #[test]
    fn an_end_is_cut_between_characters_and_trimmed() {
        let cases: [(&[u8], usize, &str); 6] = [
            (b" \n", 3, ""),
            (b"\nabc\r\n", 3, "abc"),
            (b"abcd\n", 3, "…bcd"),
            ("☕cd".as_bytes(), 4, "…cd"),
            (b"\xffabc", 4, "\u{fffd}abc"),
            (&[0x80; 5], 4, "…\u{fffd}\u{fffd}\u{fffd}\u{fffd}"),
        ];
        for (bytes, most, expected) in cases {
            assert_eq!(end(bytes, most), expected, "{bytes:?} {most}");
        }
    }

    #[test]
    fn a_tail_is_the_end_however_it_is_written() {
        let written: Vec<u8> = (0..100_000_u32).map(|number| b'a' + (number % 26) as u8).collect();
        let expected = format!("…{}", String::from_utf8_lossy(&written[written.len() - Tail::MOST..]));
        for piece in [1, 7, 2049, 5000, 100_000] {
            let mut tail = Tail::default();
            for bytes in written.chunks(piece) {
                tail.extend(bytes);
                assert!(tail.0.len() <= 2 * Tail::MOST, "{piece}");
            }
            assert_eq!(tail.text(), expected, "{piece}");
        }
        let mut short = Tail::default();
        short.extend(b"one\ntwo\n");
        assert_eq!(short.text(), "one\ntwo");
    }
}
