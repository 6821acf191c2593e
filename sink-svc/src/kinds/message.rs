//! Messages from stores, for tables and statuses.

/// Longer messages are truncated.
const MAX_BYTES: usize = 1024;

/// A message that may contain a store's own text. It is bounded and has no control characters: PostgreSQL
/// cannot store NUL, and terminals interpret others. It contains no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct StoreMessage(String);

impl StoreMessage {
    pub(super) fn new(text: &str) -> Self {
        let mut message = String::new();
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if message.len() + c.len_utf8() > MAX_BYTES {
                message.push('…');
                break;
            }
            message.push(c);
        }
        Self(message)
    }
}

impl std::fmt::Display for StoreMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<StoreMessage> for String {
    fn from(message: StoreMessage) -> Self {
        message.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_bounded_and_have_no_control_characters() {
        for (text, expected) in [
            ("forbidden: not today", "forbidden: not today".to_owned()),
            ("a\0b\nc\u{1b}[2Jd\u{85}e", "a b c [2Jd e".to_owned()),
            ("größer", "größer".to_owned()),
            (&"x".repeat(MAX_BYTES), "x".repeat(MAX_BYTES)),
            (&"x".repeat(1 << 20), format!("{}…", "x".repeat(MAX_BYTES))),
            // A character that does not fit is left out.
            (&format!("x{}", "ß".repeat(1000)), format!("x{}…", "ß".repeat(511))),
        ] {
            assert_eq!(String::from(StoreMessage::new(text)), expected);
        }
    }
}
