//! Text from strangers, made safe to print: control characters could command a terminal or forge lines of a log.

/// The text on one line: control characters but tabs are escaped.
pub fn line(text: &str) -> String {
    escaped(text, &['\t'])
}

/// The text with its line breaks: other control characters but tabs are escaped.
pub fn lines(text: &str) -> String {
    escaped(text, &['\t', '\n'])
}

fn escaped(text: &str, kept: &[char]) -> String {
    let mut printable = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            c if c.is_control() && !kept.contains(&c) => printable.extend(c.escape_default()),
            c => printable.push(c),
        }
    }
    printable
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_escaped() {
        for (text, expected) in [
            ("plain ☕\ttext", "plain ☕\ttext"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("one\r\n2026-01-01 forged", "one\\r\\n2026-01-01 forged"),
            ("bell\u{7}, csi\u{9b}, nul\0", "bell\\u{7}, csi\\u{9b}, nul\\u{0}"),
        ] {
            assert_eq!(line(text), expected);
        }
        assert_eq!(lines("a\nb\u{1b}"), "a\nb\\u{1b}");
    }
}
