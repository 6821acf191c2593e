//! What a store says, on its way into tables and statuses.

/// Longer words are cut.
const MOST_BYTES: usize = 1024;

/// Words of which a store may have chosen some: bounded, and without control characters, of which
/// PostgreSQL keeps no NUL and a terminal obeys others. Hold no secrets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Words(String);

impl Words {
    pub(super) fn new(text: &str) -> Self {
        let mut words = String::new();
        for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
            if words.len() + c.len_utf8() > MOST_BYTES {
                words.push('…');
                break;
            }
            words.push(c);
        }
        Self(words)
    }
}

impl std::fmt::Display for Words {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<Words> for String {
    fn from(words: Words) -> Self {
        words.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_are_bounded_and_harmless() {
        for (text, expected) in [
            ("forbidden: not today", "forbidden: not today".to_owned()),
            ("a\0b\nc\u{1b}[2Jd\u{85}e", "a b c [2Jd e".to_owned()),
            ("größer", "größer".to_owned()),
            (&"x".repeat(MOST_BYTES), "x".repeat(MOST_BYTES)),
            (&"x".repeat(1 << 20), format!("{}…", "x".repeat(MOST_BYTES))),
            // A character that would be cut in two is left out.
            (&format!("x{}", "ß".repeat(1000)), format!("x{}…", "ß".repeat(511))),
        ] {
            assert_eq!(String::from(Words::new(text)), expected);
        }
    }
}
