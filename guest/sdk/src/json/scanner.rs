//! The syntax of JSON (RFC 8259).

use std::borrow::Cow;

use super::error::Error;

/// How deep values may be nested, as in `serde_json`.
const MAX_DEPTH: u8 = 127;

/// Reads a text from its beginning to its end.
pub(super) struct Scanner<'de> {
    text: &'de str,
    /// The position of the next byte.
    at: usize,
    depth: u8,
}

/// A number as it is written.
#[derive(Clone, Copy)]
pub(super) struct Number<'de> {
    pub(super) text: &'de str,
    /// Whether it has neither fraction nor exponent.
    pub(super) is_integer: bool,
}

impl<'de> Scanner<'de> {
    pub(super) fn new(text: &'de str) -> Self {
        Self { text, at: 0, depth: 0 }
    }

    /// The message of an error at the present position.
    pub(super) fn locate(&self, error: &Error) -> String {
        let read = &self.text.as_bytes()[..self.at];
        let line = 1 + read.iter().filter(|byte| **byte == b'\n').count();
        let column = read.iter().rev().take_while(|byte| **byte != b'\n').count();
        format!("{error} at line {line} column {column}")
    }

    fn byte(&self) -> Option<u8> {
        self.text.as_bytes().get(self.at).copied()
    }

    /// The first byte after white space. It is not consumed.
    pub(super) fn peek(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\n' | b'\r') = self.byte() {
            self.at += 1;
        }
        self.byte()
    }

    /// Consumes this byte, if it is the next one after white space.
    pub(super) fn accept(&mut self, byte: u8) -> bool {
        let is_next = self.peek() == Some(byte);
        self.at += usize::from(is_next);
        is_next
    }

    /// Consumes this byte; otherwise fails with this message.
    pub(super) fn expect(&mut self, byte: u8, message: &str) -> Result<(), Error> {
        if self.accept(byte) { Ok(()) } else { Err(self.error(message)) }
    }

    /// An error with this message, or because the text has ended.
    #[cold]
    pub(super) fn error(&self, message: &str) -> Error {
        Error::new(if self.byte().is_none() { "unexpected end" } else { message })
    }

    /// Fails if there is more.
    pub(super) fn end(&mut self) -> Result<(), Error> {
        if self.peek().is_none() { Ok(()) } else { Err(Error::new("unexpected text after the value")) }
    }

    /// Enters an array or object.
    pub(super) fn enter(&mut self) -> Result<(), Error> {
        self.at += 1;
        self.depth += 1;
        if self.depth > MAX_DEPTH { Err(Error::new("too many nested values")) } else { Ok(()) }
    }

    /// Leaves an array or object, which this byte ends.
    pub(super) fn leave(&mut self, end: u8) -> Result<(), Error> {
        self.depth -= 1;
        self.expect(
            end,
            if end == b']' { "expected the end of the array" } else { "expected the end of the object" },
        )
    }

    /// Whether an array or object has another element. `is_first` is false after the first one.
    pub(super) fn next_element(&mut self, end: u8, is_first: &mut bool) -> Result<bool, Error> {
        let was_first = std::mem::replace(is_first, false);
        if self.peek() == Some(end) {
            return Ok(false);
        }
        if !was_first {
            self.expect(b',', "expected a comma or the end")?;
            if self.peek() == Some(end) {
                return Err(Error::new("unexpected trailing comma"));
            }
        }
        Ok(true)
    }

    /// Consumes `null`, `true` or `false`.
    pub(super) fn word(&mut self, word: &str) -> Result<(), Error> {
        self.peek();
        match self.text.as_bytes()[self.at..].starts_with(word.as_bytes()) {
            true => self.at += word.len(),
            false => return Err(self.error("expected a value")),
        }
        Ok(())
    }

    /// Consumes a number.
    pub(super) fn number(&mut self) -> Result<Number<'de>, Error> {
        self.peek();
        let start = self.at;
        self.at += usize::from(self.byte() == Some(b'-'));
        let first_digit = self.at;
        self.digits()?;
        if self.at > first_digit + 1 && self.text.as_bytes()[first_digit] == b'0' {
            return Err(Error::new("unexpected leading zero"));
        }
        let end_of_integer = self.at;
        if self.byte() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.byte() {
            self.at += 1;
            self.at += usize::from(matches!(self.byte(), Some(b'+' | b'-')));
            self.digits()?;
        }
        let text = self.slice(start);
        // As an integer, it would lose its sign.
        Ok(Number { text, is_integer: self.at == end_of_integer && text != "-0" })
    }

    fn digits(&mut self) -> Result<(), Error> {
        let start = self.at;
        while self.byte().is_some_and(|byte| byte.is_ascii_digit()) {
            self.at += 1;
        }
        if self.at == start { Err(self.error("expected a digit")) } else { Ok(()) }
    }

    /// Consumes a string. It is borrowed if there are no escapes in it.
    pub(super) fn string(&mut self) -> Result<Cow<'de, str>, Error> {
        self.expect(b'"', "expected a string")?;
        let start = self.at;
        self.plain()?;
        let mut string = Cow::Borrowed(self.slice(start));
        while self.byte() != Some(b'"') {
            self.at += 1;
            string.to_mut().push(self.escape()?);
            let start = self.at;
            self.plain()?;
            string.to_mut().push_str(self.slice(start));
        }
        self.at += 1;
        Ok(string)
    }

    /// Consumes a string. Unlike that of others, the text of one that nobody reads need not be valid Unicode.
    fn skip_string(&mut self) -> Result<(), Error> {
        self.at += 1;
        self.plain()?;
        while self.byte() != Some(b'"') {
            self.at += 1;
            if self.byte() == Some(b'u') {
                self.at += 1;
                self.hex()?;
            } else {
                self.escape()?;
            }
            self.plain()?;
        }
        self.at += 1;
        Ok(())
    }

    /// Consumes characters up to a quotation mark or a backslash.
    fn plain(&mut self) -> Result<(), Error> {
        loop {
            match self.byte() {
                Some(b'"' | b'\\') => return Ok(()),
                None | Some(..b' ') => return Err(self.error("unexpected control character in a string")),
                Some(_) => self.at += 1,
            }
        }
    }

    /// The text from `start`, which like the present position is not inside of a character, to there.
    fn slice(&self, start: usize) -> &'de str {
        self.text.get(start..self.at).unwrap_or_default()
    }

    /// Consumes what follows a backslash.
    fn escape(&mut self) -> Result<char, Error> {
        let escaped = match self.byte() {
            Some(byte @ (b'"' | b'\\' | b'/')) => char::from(byte),
            Some(b'b') => '\u{8}',
            Some(b'f') => '\u{c}',
            Some(b'n') => '\n',
            Some(b'r') => '\r',
            Some(b't') => '\t',
            Some(b'u') => {
                self.at += 1;
                return self.code_point();
            }
            _ => return Err(self.error("unknown escape")),
        };
        self.at += 1;
        Ok(escaped)
    }

    /// Consumes the digits of `\uXXXX`, or of two of them, which are one character.
    fn code_point(&mut self) -> Result<char, Error> {
        let mut code = self.hex()?;
        if let 0xd800..0xdc00 = code {
            if !self.text.as_bytes()[self.at..].starts_with(b"\\u") {
                return Err(self.error("expected the second half of a surrogate pair"));
            }
            self.at += 2;
            let low = self.hex()?;
            if !matches!(low, 0xdc00..0xe000) {
                return Err(Error::new("expected the second half of a surrogate pair"));
            }
            code = 0x1_0000 + ((code - 0xd800) << 10) + (low - 0xdc00);
        }
        char::from_u32(code).ok_or_else(|| Error::new("unexpected second half of a surrogate pair"))
    }

    fn hex(&mut self) -> Result<u32, Error> {
        let mut code = 0;
        for _ in 0..4 {
            let digit = self.byte().and_then(|byte| char::from(byte).to_digit(16));
            code = code << 4 | digit.ok_or_else(|| self.error("expected a hexadecimal digit"))?;
            self.at += 1;
        }
        Ok(code)
    }

    /// Consumes a value without a look at what it is.
    pub(super) fn skip(&mut self) -> Result<(), Error> {
        match self.peek() {
            Some(b'"') => self.skip_string(),
            Some(b'n') => self.word("null"),
            Some(b't') => self.word("true"),
            Some(b'f') => self.word("false"),
            Some(b'-' | b'0'..=b'9') => self.number().map(drop),
            Some(open @ (b'[' | b'{')) => {
                let (end, mut is_first) = (open + 2, true);
                self.enter()?;
                while self.next_element(end, &mut is_first)? {
                    if open == b'{' {
                        self.string()?;
                        self.expect(b':', "expected a colon")?;
                    }
                    self.skip()?;
                }
                self.leave(end)
            }
            _ => Err(self.error("expected a value")),
        }
    }
}
