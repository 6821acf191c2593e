//! Dead letters as they are shown.

use anyhow::Context as _;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use mesh::printable;
use serde::Deserialize;
use serde_json::value::RawValue;

use crate::args::Role;
use crate::table::Table;

/// A dead letter; one of a list has no payload.
#[derive(Debug, Deserialize)]
pub struct Letter {
    pub id: String,
    pub role: Role,
    binding_id: String,
    binding_type: String,
    module: String,
    function: String,
    invocation_id: String,
    reason: String,
    attempts: u32,
    received_at: String,
    dead_lettered_at: String,
    /// Empty: there was none. Older meshes do not say.
    #[serde(default)]
    trace_id: String,
    payload: Option<Box<RawValue>>,
    /// What the source of an invalid event sent.
    payload_base64: Option<String>,
}

impl Letter {
    fn payload(&self) -> anyhow::Result<String> {
        match &self.payload_base64 {
            None => Ok(self.payload.as_deref().map_or("", RawValue::get).to_owned()),
            Some(encoded) => {
                Ok(printable::lines(&String::from_utf8_lossy(&BASE64_STANDARD.decode(encoded)?)))
            }
        }
    }
}

/// A part of the list.
#[derive(Debug, Deserialize)]
pub struct Page {
    pub data: Vec<Letter>,
    /// The letter after which the next part begins, if there is one.
    pub next: Option<String>,
}

impl Page {
    pub fn read(body: &str) -> anyhow::Result<Self> {
        serde_json::from_str(body).context("the answer is not what was expected")
    }
}

pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Event => "event",
        Role::Sink => "sink",
    }
}

/// A list.
pub fn table(letters: Vec<Letter>) -> Table {
    let mut table = Table::new(&["ID", "ROLE", "TYPE", "FUNCTION", "DEAD-LETTERED", "ATTEMPTS", "REASON"]);
    for letter in letters {
        table.row([
            letter.id,
            role_name(letter.role).to_owned(),
            letter.binding_type,
            format!("{}/{}", letter.module, letter.function),
            letter.dead_lettered_at,
            letter.attempts.to_string(),
            letter.reason,
        ]);
    }
    table
}

/// One letter and its payload, as it was.
pub fn shown(letter: &Letter) -> anyhow::Result<String> {
    let mut table = Table::new(&["id", &letter.id]);
    let mut line = |name: &str, value: String| table.row([name.to_owned(), value]);
    line("role", role_name(letter.role).to_owned());
    line("binding", format!("{} {}", letter.binding_type, letter.binding_id));
    line("function", format!("{}/{}", letter.module, letter.function));
    line("invocation", letter.invocation_id.clone());
    line("received", letter.received_at.clone());
    line("dead-lettered", letter.dead_lettered_at.clone());
    line("attempts", letter.attempts.to_string());
    line("reason", letter.reason.clone());
    if !letter.trace_id.is_empty() {
        line("trace", letter.trace_id.clone());
    }
    let payload = letter.payload().context("the answer is not what was expected")?;
    Ok(format!("{table}\n{payload}\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn letter(payload: &str) -> Letter {
        let text = format!(
            r#"{{"id":"1","role":"event","binding_id":"b","binding_type":"mqtt","module":"m","function":"f",
            "invocation_id":"i","reason":"Error: no\nluck","attempts":5,"received_at":"R",
            "dead_lettered_at":"D","payload_bytes":9{payload}}}"#
        );
        serde_json::from_str(&text).expect("a letter")
    }

    #[test]
    fn a_trace_is_shown_where_there_is_one() {
        let shown = shown(&letter(r#","trace_id":"0af7","payload":1"#)).expect("it is well-formed");
        assert!(shown.contains("\ntrace          0af7\n"), "{shown}");
    }

    #[test]
    fn letters_are_a_table() {
        let page = r#"{"data":[],"next":null}"#;
        let page = Page::read(page).expect("a page");
        assert_eq!((table(page.data).to_string().as_str(), page.next), ("", None));
        let expected = "\
ID  ROLE   TYPE  FUNCTION  DEAD-LETTERED  ATTEMPTS  REASON
1   event  mqtt  m/f       D              5         Error: no luck
";
        assert_eq!(table(vec![letter("")]).to_string(), expected);
    }

    #[test]
    fn a_payload_is_shown_as_it_was() {
        let shown = shown(&letter(r#","payload":{"b": 1.0, "a":12345678901234567890123}"#));
        let shown = shown.expect("it is well-formed");
        assert!(
            shown.starts_with("id             1\nrole           event\nbinding        mqtt b\n"),
            "{shown}"
        );
        assert!(!shown.contains("trace"), "there is none: {shown}");
        assert!(shown.ends_with("\n\n{\"b\": 1.0, \"a\":12345678901234567890123}\n"), "{shown}");
    }
    #[test]
    fn an_invalid_payload_is_shown_as_text() {
        let payload_of = |encoded: &str| {
            let shown = shown(&letter(&format!(r#","payload_base64":"{encoded}""#)))?;
            Ok::<_, anyhow::Error>(shown.split_once("\n\n").expect("a payload").1.to_owned())
        };
        for (encoded, expected) in [
            ("aGVsbG8=", "hello\n"),
            ("/wA=", "\u{fffd}\\u{0}\n"),
            ("G1syShsK", "\\u{1b}[2J\\u{1b}\n\n"),
            ("", "\n"),
        ] {
            assert_eq!(payload_of(encoded).expect("it is Base64"), expected, "{encoded}");
        }
        assert!(payload_of("?").is_err());
    }
}
