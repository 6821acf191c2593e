//! Checks that a text is one JSON value, piece by piece, so that a long one does not hold up the thread.

/// The place and the kind of a mistake.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Mistake {
    #[error("not UTF-8 at byte {0}")]
    NotUtf8(usize),
    #[error("{what} at line {line} column {column}")]
    Syntax { what: &'static str, line: usize, column: usize },
}

/// A check of one text.
#[derive(Debug)]
pub(super) struct JsonCheck<'a> {
    text: &'a [u8],
    /// The bytes before this one are checked.
    next: usize,
    /// The line of `next`, from 1, and where it starts. Only white space has line breaks.
    line: usize,
    line_start: usize,
    state: State,
    nesting: Nesting,
}

/// What comes next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Value,
    /// A value, or the end of an array that has just begun.
    ValueOrEnd,
    /// The key of a member.
    Key,
    /// A key, or the end of an object that has just begun.
    KeyOrEnd,
    Colon,
    /// What follows a value: a comma, the end of an array or object, or the end of the text.
    AfterValue,
    InString(StringOf),
    /// The character after a backslash.
    Escape(StringOf),
    /// So many hexadecimal digits.
    Hex(StringOf, u8),
    /// The rest of `null`, `true` or `false`.
    Literal(&'static [u8]),
    Number(Number),
}

/// What a string is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum StringOf {
    Key,
    Value,
}

/// What was last read of a number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Number {
    Minus,
    Zero,
    Integer,
    Point,
    Fraction,
    Exponent,
    ExponentSign,
    ExponentDigits,
}

impl<'a> JsonCheck<'a> {
    /// A check that has not begun.
    pub(super) fn new(text: &'a [u8]) -> Self {
        let (state, nesting) = (State::Value, Nesting::default());
        Self { text, next: 0, line: 1, line_start: 0, state, nesting }
    }

    /// Checks the next bytes, at most `most`, of which there are at least 4. Returns whether it is done.
    pub(super) fn advance(&mut self, most: usize) -> Result<bool, Mistake> {
        let end = self.text.len().min(self.next + most);
        let end = match std::str::from_utf8(&self.text[self.next..end]) {
            Ok(_) => end,
            // A character that begins in this piece ends in the next one.
            Err(error) if error.error_len().is_none() && end < self.text.len() => {
                self.next + error.valid_up_to()
            }
            Err(error) => return Err(Mistake::NotUtf8(self.next + error.valid_up_to())),
        };
        while self.next < end {
            match self.state {
                State::InString(_) => self.next += plain_len(&self.text[self.next..end]),
                State::Number(_) | State::Escape(_) | State::Hex(..) | State::Literal(_) => {}
                _ => self.skip_white_space(end),
            }
            if self.next < end {
                self.step(self.text[self.next])?;
            }
        }
        if end < self.text.len() {
            return Ok(false);
        }
        self.finish().map(|()| true)
    }

    fn skip_white_space(&mut self, end: usize) {
        while self.next < end {
            match self.text[self.next] {
                b' ' | b'\t' | b'\r' => self.next += 1,
                b'\n' => {
                    self.next += 1;
                    self.line += 1;
                    self.line_start = self.next;
                }
                _ => return,
            }
        }
    }

    /// Checks one byte. A number ends before the byte that does not belong to it.
    fn step(&mut self, byte: u8) -> Result<(), Mistake> {
        self.state = match self.state {
            State::Value => self.begin_value(byte)?,
            State::ValueOrEnd if byte == b']' => self.leave(),
            State::ValueOrEnd => self.begin_value(byte)?,
            State::KeyOrEnd if byte == b'}' => self.leave(),
            State::Key | State::KeyOrEnd => match byte {
                b'"' => State::InString(StringOf::Key),
                _ => return self.refuse("key must be a string"),
            },
            State::Colon if byte == b':' => State::Value,
            State::Colon => return self.refuse("expected `:`"),
            State::AfterValue => self.after_value(byte)?,
            State::InString(of) => match byte {
                b'"' => of.end(),
                b'\\' => State::Escape(of),
                _ => return self.refuse("control character (\\u0000-\\u001F) found while parsing a string"),
            },
            State::Escape(of) => match byte {
                b'"' | b'\\' | b'/' | b'b' | b'f' | b'n' | b'r' | b't' => State::InString(of),
                b'u' => State::Hex(of, 4),
                _ => return self.refuse("invalid escape"),
            },
            State::Hex(of, left) if byte.is_ascii_hexdigit() => match left {
                1 => State::InString(of),
                _ => State::Hex(of, left - 1),
            },
            State::Hex(..) => return self.refuse("invalid escape"),
            State::Literal([first, rest @ ..]) if *first == byte => match rest {
                [] => State::AfterValue,
                _ => State::Literal(rest),
            },
            State::Literal(_) => return self.refuse("expected ident"),
            State::Number(number) => match number.followed_by(byte) {
                Some(number) => State::Number(number),
                None if number.may_end() => {
                    self.state = State::AfterValue;
                    return Ok(());
                }
                None => return self.refuse("invalid number"),
            },
        };
        self.next += 1;
        Ok(())
    }

    fn begin_value(&mut self, byte: u8) -> Result<State, Mistake> {
        Ok(match byte {
            b'"' => State::InString(StringOf::Value),
            b'{' => {
                self.nesting.enter(true);
                State::KeyOrEnd
            }
            b'[' => {
                self.nesting.enter(false);
                State::ValueOrEnd
            }
            b'n' => State::Literal(b"ull"),
            b't' => State::Literal(b"rue"),
            b'f' => State::Literal(b"alse"),
            b'-' => State::Number(Number::Minus),
            b'0' => State::Number(Number::Zero),
            b'1'..=b'9' => State::Number(Number::Integer),
            _ => return self.refuse("expected value"),
        })
    }

    fn after_value(&mut self, byte: u8) -> Result<State, Mistake> {
        match (self.nesting.in_object(), byte) {
            (Some(false), b']') | (Some(true), b'}') => Ok(self.leave()),
            (Some(false), b',') => Ok(State::Value),
            (Some(true), b',') => Ok(State::Key),
            (Some(false), _) => self.refuse("expected `,` or `]`"),
            (Some(true), _) => self.refuse("expected `,` or `}`"),
            (None, _) => self.refuse("trailing characters"),
        }
    }

    fn leave(&mut self) -> State {
        self.nesting.leave();
        State::AfterValue
    }

    /// Refuses the byte at `next`.
    fn refuse<T>(&self, what: &'static str) -> Result<T, Mistake> {
        Err(Mistake::Syntax { what, line: self.line, column: self.next - self.line_start + 1 })
    }

    /// Checks that the text may end here.
    fn finish(&self) -> Result<(), Mistake> {
        let state = match self.state {
            State::Number(number) if number.may_end() => State::AfterValue,
            state => state,
        };
        let what = match (state, self.nesting.in_object()) {
            (State::AfterValue, None) => return Ok(()),
            (State::InString(_) | State::Escape(_) | State::Hex(..), _) => "EOF while parsing a string",
            (State::Value | State::Literal(_) | State::Number(_), _) | (_, None) => {
                "EOF while parsing a value"
            }
            (_, Some(false)) => "EOF while parsing a list",
            (_, Some(true)) => "EOF while parsing an object",
        };
        Err(Mistake::Syntax { what, line: self.line, column: self.next - self.line_start })
    }
}

impl StringOf {
    /// What follows the string.
    fn end(self) -> State {
        match self {
            Self::Key => State::Colon,
            Self::Value => State::AfterValue,
        }
    }
}

impl Number {
    /// What is read with `byte`, if that belongs to the number.
    fn followed_by(self, byte: u8) -> Option<Self> {
        Some(match (self, byte) {
            (Self::Minus, b'0') => Self::Zero,
            (Self::Minus, b'1'..=b'9') | (Self::Integer, b'0'..=b'9') => Self::Integer,
            (Self::Zero | Self::Integer, b'.') => Self::Point,
            (Self::Point | Self::Fraction, b'0'..=b'9') => Self::Fraction,
            (Self::Zero | Self::Integer | Self::Fraction, b'e' | b'E') => Self::Exponent,
            (Self::Exponent, b'+' | b'-') => Self::ExponentSign,
            (Self::Exponent | Self::ExponentSign | Self::ExponentDigits, b'0'..=b'9') => Self::ExponentDigits,
            _ => return None,
        })
    }

    fn may_end(self) -> bool {
        matches!(self, Self::Zero | Self::Integer | Self::Fraction | Self::ExponentDigits)
    }
}

/// The arrays and objects that have not ended, one bit for each: no depth exhausts the stack.
#[derive(Debug, Default)]
struct Nesting {
    /// Whether they are objects; the outermost is the lowest bit of the first word.
    words: Vec<u64>,
    depth: usize,
}

impl Nesting {
    fn enter(&mut self, object: bool) {
        let (word, bit) = (self.depth / 64, self.depth % 64);
        if word == self.words.len() {
            self.words.push(0);
        }
        self.words[word] = self.words[word] & !(1 << bit) | u64::from(object) << bit;
        self.depth += 1;
    }

    fn leave(&mut self) {
        self.depth -= 1;
    }

    /// Whether the innermost is an object. `None`: there is none.
    fn in_object(&self) -> Option<bool> {
        let innermost = self.depth.checked_sub(1)?;
        Some(self.words[innermost / 64] >> (innermost % 64) & 1 == 1)
    }
}

/// How many of the first bytes neither end a string, nor begin an escape, nor are control characters.
fn plain_len(bytes: &[u8]) -> usize {
    let words = bytes.as_chunks::<8>().0;
    let plain_words = words.iter().take_while(|word| !has_special(u64::from_le_bytes(**word))).count();
    let rest = &bytes[plain_words * 8..];
    let is_special = |byte: &u8| matches!(byte, b'"' | b'\\' | 0..0x20);
    plain_words * 8 + rest.iter().position(is_special).unwrap_or(rest.len())
}

/// Whether one of these eight bytes is a quotation mark, a backslash or a control character.
fn has_special(word: u64) -> bool {
    const EACH: u64 = 0x0101_0101_0101_0101;
    // The highest bit of a byte is set if the byte is less than `bound`, at most 0x80, and no byte before it was.
    let less = |word: u64, bound: u64| word.wrapping_sub(EACH * bound) & !word & (EACH << 7);
    let equal = |byte: u8| less(word ^ (EACH * u64::from(byte)), 1);
    less(word, 0x20) | equal(b'"') | equal(b'\\') != 0
}

#[cfg(test)]
mod tests {
    use serde::de::IgnoredAny;

    use super::*;

    /// The outcome of a check in pieces of this size, and their number.
    fn check(text: &[u8], piece: usize) -> (Result<(), Mistake>, usize) {
        let mut check = JsonCheck::new(text);
        for pieces in 1.. {
            match check.advance(piece) {
                Ok(false) => {}
                done => return (done.map(drop), pieces),
            }
        }
        unreachable!("a check ends")
    }

    /// Numbers that look random, the same in each run.
    fn numbers() -> impl FnMut(usize) -> usize {
        let mut state = 0x2545_f491_4f6c_dd1d_u64;
        move |below| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state % below as u64) as usize
        }
    }

    #[test]
    fn accepts_what_serde_accepts_in_pieces_of_any_size() {
        const PARTS: [&str; 32] = [
            "{",
            "}",
            "[",
            "]",
            ",",
            ":",
            "\"",
            "\"a\"",
            "\"\\u00e9\"",
            "\\",
            "\\n",
            "\"é☕😀 long enough\"",
            "null",
            "tru",
            "true",
            "false",
            "0",
            "-",
            "1",
            "12",
            ".5",
            "e",
            "E+3",
            "-0.0e-1",
            " ",
            "\n",
            "\t",
            "\u{1}",
            "x",
            "{\"k\":1}",
            "[1,[2,{}]]",
            "\"0123456789\\\\\\\"\"",
        ];
        let mut below = numbers();
        let mut accepted = 0;
        for _ in 0..60_000 {
            let mut text = String::new();
            for _ in 0..=below(6) {
                text += PARTS[below(PARTS.len())];
            }
            let expected = serde_json::from_str::<IgnoredAny>(&text).is_ok();
            let found = check(text.as_bytes(), 4 + below(30)).0;
            assert_eq!(found.is_ok(), expected, "{text:?}: {found:?}");
            assert_eq!(check(text.as_bytes(), 1 << 20).0, found, "{text:?}");
            accepted += usize::from(expected);
        }
        assert!(accepted > 1000, "{accepted}");
    }

    #[test]
    fn bytes_that_are_not_utf8_are_found_in_any_piece() {
        let (text, mut below) = ("\"é☕😀é☕😀é☕😀é☕😀\"", numbers());
        for _ in 0..20_000 {
            let mut text = text.as_bytes().to_vec();
            let changed = 1 + below(text.len() - 2);
            text[changed] = below(256) as u8;
            let found = check(&text, 4 + below(9)).0;
            match std::str::from_utf8(&text) {
                Ok(text) => assert_eq!(found.is_ok(), serde_json::from_str::<IgnoredAny>(text).is_ok()),
                // The mistake in an earlier piece is found first.
                Err(error) => match found.expect_err("not UTF-8") {
                    Mistake::NotUtf8(at) => assert_eq!(at, error.valid_up_to(), "{text:?}"),
                    Mistake::Syntax { column, .. } => assert!(column <= error.valid_up_to(), "{text:?}"),
                },
            }
        }
        assert_eq!(check(b"\"\xe2\x98", 4).0, Err(Mistake::NotUtf8(1)), "the text ends within a character");
    }

    #[test]
    fn mistakes_have_their_place() {
        let cases: [(&str, &str); 17] = [
            ("", "EOF while parsing a value at line 1 column 0"),
            (" \n", "EOF while parsing a value at line 2 column 0"),
            ("not json", "expected ident at line 1 column 2"),
            ("hello", "expected value at line 1 column 1"),
            ("{]", "key must be a string at line 1 column 2"),
            ("{\"a\" 1}", "expected `:` at line 1 column 6"),
            ("{\"a\":1]", "expected `,` or `}` at line 1 column 7"),
            ("[1\n 2]", "expected `,` or `]` at line 2 column 2"),
            ("[1,]", "expected value at line 1 column 4"),
            ("1 2", "trailing characters at line 1 column 3"),
            ("01", "trailing characters at line 1 column 2"),
            ("-x", "invalid number at line 1 column 2"),
            ("\"\\x\"", "invalid escape at line 1 column 3"),
            ("\"\n\"", "control character (\\u0000-\\u001F) found while parsing a string at line 1 column 2"),
            ("\"abc", "EOF while parsing a string at line 1 column 4"),
            ("[1", "EOF while parsing a list at line 1 column 2"),
            ("{\"a\":1", "EOF while parsing an object at line 1 column 6"),
        ];
        for (text, expected) in cases {
            let mistake = check(text.as_bytes(), 4).0.expect_err(text);
            assert_eq!(mistake.to_string(), expected, "{text:?}");
        }
    }

    #[test]
    fn a_piece_is_no_longer_than_asked_for() {
        let long_string = format!("\"{}\"", "x".repeat(998));
        let deep = "[".repeat(500) + &"]".repeat(500);
        let number = "1".repeat(1000);
        for text in [long_string, deep, number, " ".repeat(999) + "1"] {
            assert_eq!(check(text.as_bytes(), 100), (Ok(()), 10), "{text}");
        }
    }
}
