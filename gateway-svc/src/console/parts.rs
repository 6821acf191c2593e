//! Small parts of pages: amounts, times, states, texts of others.

use maud::{Markup, html};
use mesh::clock::{now_ms, rfc_3339};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// A longer text is cut where it is shown.
const MAX_SHOWN_BYTES: usize = 256 << 10;
/// What is escaped in a path or query.
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'_').remove(b'-').remove(b'.').remove(b'~');

/// A text as a part of a path or query.
pub(super) fn escaped(text: &str) -> String {
    utf8_percent_encode(text, ESCAPED).to_string()
}

/// A number of bytes in a unit that keeps it short.
pub(super) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KB", "MB", "GB", "TB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1000.0 && unit + 1 < UNITS.len() {
        value /= 1000.0;
        unit += 1;
    }
    match unit {
        0 => format!("{bytes} B"),
        _ if value < 10.0 => format!("{value:.1} {}", UNITS[unit]),
        _ => format!("{value:.0} {}", UNITS[unit]),
    }
}

/// Microseconds in a unit that keeps them short.
pub(super) fn duration(us: u64) -> String {
    match us {
        0..1_000 => format!("{us} µs"),
        1_000..10_000 => format!("{:.2} ms", us as f64 / 1e3),
        10_000..100_000 => format!("{:.1} ms", us as f64 / 1e3),
        100_000..1_000_000 => format!("{:.0} ms", us as f64 / 1e3),
        _ => format!("{:.2} s", us as f64 / 1e6),
    }
}

/// Events per second.
pub(super) fn rate(per_second: f64) -> String {
    match per_second {
        0.0 => "0/s".to_owned(),
        rate if rate < 10.0 => format!("{rate:.1}/s"),
        rate => format!("{rate:.0}/s"),
    }
}

/// A number with thin spaces between thousands.
pub(super) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A number and its noun.
pub(super) fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(number))
}

/// A time in RFC 3339, shortened: without the date if it is today's. UTC.
pub(super) fn time(at: &str) -> Markup {
    let today = rfc_3339(now_ms());
    let (date, clock) = (at.get(..10).unwrap_or(at), at.get(11..19).unwrap_or_default());
    let shown = match today.starts_with(date) {
        true => clock.to_owned(),
        false => format!("{date} {}", clock.get(..5).unwrap_or_default()),
    };
    html! { time datetime=(at) title=(at) { (shown) } }
}

pub(super) fn time_if_any(at: Option<&str>) -> Markup {
    html! { @match at { Some(at) => (time(at)), None => span.quiet { "—" } } }
}

/// The state of a binding.
pub(super) fn state(state: &str) -> Markup {
    let kind = match state {
        "connected" => "ok",
        "connecting" => "warn",
        "retrying" => "bad",
        _ => "none",
    };
    html! { span class={ "state " (kind) } { (state) } }
}

/// How an invocation ended.
pub(super) fn outcome(outcome: &str, reason: Option<&str>) -> Markup {
    let (kind, words) = match outcome {
        "ok" => ("ok", "ok".to_owned()),
        "function_error" => ("warn", "function error".to_owned()),
        _ => ("bad", reason.unwrap_or("failed").to_lowercase().replace('_', " ")),
    };
    html! { span class={ "state " (kind) } { (words) } }
}

/// A text of a function or of a user; a long one is cut.
pub(super) fn text(text: &str) -> Markup {
    let end = text.floor_char_boundary(MAX_SHOWN_BYTES);
    html! {
        pre tabindex="0" { code { (text[..end]) } }
        @if end < text.len() {
            p.quiet { "The first " (bytes(end as u64)) " of " (bytes(text.len() as u64)) "." }
        }
    }
}

/// JSON with line breaks and indentation. Numbers, strings and the order of members stay as they are.
pub(super) fn indented(json: &str) -> String {
    let mut text = String::with_capacity(json.len() * 2);
    let (mut depth, mut in_string, mut is_escaped) = (0_usize, false, false);
    let mut characters = json.trim().chars().peekable();
    let line = |text: &mut String, depth: usize| {
        text.push('\n');
        text.extend(std::iter::repeat_n("  ", depth.min(40)));
    };
    while let Some(character) = characters.next() {
        if in_string {
            text.push(character);
            in_string = character != '"' || is_escaped;
            is_escaped = character == '\\' && !is_escaped;
            continue;
        }
        match character {
            ' ' | '\n' | '\r' | '\t' => {}
            '{' | '[' => {
                text.push(character);
                while characters.peek().is_some_and(|next| next.is_ascii_whitespace()) {
                    characters.next();
                }
                match characters.peek() {
                    Some(&end @ ('}' | ']')) => {
                        text.push(end);
                        characters.next();
                    }
                    _ => {
                        depth += 1;
                        line(&mut text, depth);
                    }
                }
            }
            '}' | ']' => {
                depth = depth.saturating_sub(1);
                line(&mut text, depth);
                text.push(character);
            }
            ',' => {
                text.push(',');
                line(&mut text, depth);
            }
            ':' => text.push_str(": "),
            other => {
                in_string = other == '"';
                text.push(other);
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_short() {
        let bytes_cases =
            [(0, "0 B"), (999, "999 B"), (1_000, "1.0 KB"), (46_123, "46 KB"), (25_325_268_992, "25 GB")];
        for (given, expected) in bytes_cases {
            assert_eq!(bytes(given), expected);
        }
        let cases = [
            (7, "7 µs"),
            (1_234, "1.23 ms"),
            (45_678, "45.7 ms"),
            (456_789, "457 ms"),
            (2_000_000, "2.00 s"),
        ];
        for (given, expected) in cases {
            assert_eq!(duration(given), expected);
        }
        assert_eq!((count(7), count(1_234_567)), ("7".into(), "1\u{202f}234\u{202f}567".into()));
        assert_eq!((counted(1, "error"), counted(0, "error")), ("1 error".into(), "0 errors".into()));
    }

    #[test]
    fn json_is_indented_and_otherwise_unchanged() {
        let cases = [
            ("{}", "{}"),
            ("[ ]", "[]"),
            ("12345678901234567890.10", "12345678901234567890.10"),
            (
                r#"{"b":1,"a":[2,"x, {y}: \"z\\"]}"#,
                "{\n  \"b\": 1,\n  \"a\": [\n    2,\n    \"x, {y}: \\\"z\\\\\"\n  ]\n}",
            ),
        ];
        for (given, expected) in cases {
            assert_eq!(indented(given), expected);
        }
    }

    #[test]
    fn texts_of_others_are_escaped() {
        let shown = text("<script>alert(1)</script>").into_string();
        assert!(shown.contains("&lt;script&gt;") && !shown.contains("<script"), "{shown}");
    }
}
