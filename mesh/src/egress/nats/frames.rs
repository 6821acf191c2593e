//! The protocol of NATS as a server speaks it: lines, some of which announce a message.
//!
//! What passes has been read to the end of its line, is within limits, and is something that the client reads in the
//! same way.

use serde_json::{Map, Value};

use crate::MAX_MESSAGE_BYTES;

/// The longest line, in bytes. NATS servers limit their clients to 4 KiB; their INFO grows with the cluster.
pub const MAX_LINE_BYTES: usize = 64 << 10;
/// The largest headers of a message, in bytes. Streams do not store larger ones.
const MAX_HEADER_BYTES: usize = 64 << 10;
/// The lines of a message's headers. In memory, each takes more than its bytes.
const MAX_HEADER_LINES: usize = 1024;
/// The largest reply to a request, in bytes, such as the description of a stream.
const MAX_REPLY_BYTES: usize = 1 << 20;
/// The largest message that is read, in bytes. Only a part of it passes; servers have no larger ones.
const LARGEST_MESSAGE_BYTES: usize = 64 << 20;
/// The subscription of the client with the replies to its requests.
const REPLIES: u64 = 0;
/// How much of a malformed line an error shows.
const SHOWN_CHARS: usize = 40;

/// What a server must not send.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// A line that is too long.
    #[error("the server sent a control line of more than {MAX_LINE_BYTES} bytes")]
    Line,
    /// Headers that are too large.
    #[error("the server sent a message with headers of {0} bytes; at most {MAX_HEADER_BYTES} are accepted")]
    Headers(usize),
    /// Too many headers.
    #[error("the server sent a message with more than {MAX_HEADER_LINES} lines of headers")]
    HeaderLines,
    /// A reply to a request that is too large.
    #[error("the server sent a reply of {0} bytes; at most {MAX_REPLY_BYTES} are accepted")]
    Reply(usize),
    /// A message that is too large.
    #[error("the server sent a message of {0} bytes; at most {LARGEST_MESSAGE_BYTES} are accepted")]
    Message(usize),
    /// Something else than NATS.
    #[error("the server sent a line that is not NATS: {0:?}")]
    Malformed(String),
    /// Something else than INFO at first.
    #[error("the server did not begin with INFO")]
    NoInfo,
    /// More than INFO before TLS.
    #[error("the server sent more than INFO before TLS")]
    BeforeTls,
}

/// Passes on what a server sends.
#[derive(Debug, Default)]
pub(super) struct Frames {
    /// What has arrived of a line.
    line: Vec<u8>,
    message: Message,
    /// What the first INFO line says.
    info: Option<ServerInfo>,
    /// Complete lines.
    lines: u64,
    /// The length of the subjects of messages that are not replies, since they were last counted.
    subjects: usize,
}

/// What is still to come of a message.
#[derive(Debug, Default)]
struct Message {
    /// Bytes of headers, which pass.
    header: usize,
    header_lines: usize,
    /// Bytes of the payload that pass, and then the end of the message.
    payload: usize,
    /// Bytes that do not pass.
    skipped: usize,
    is_reply: bool,
}

/// A server's properties.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ServerInfo {
    pub(super) requires_tls: bool,
}

impl Frames {
    /// Appends to `passed` what passes of the next bytes, and returns how much of it the client keeps of messages that
    /// are not replies: subjects, headers and payloads.
    pub(super) fn pass(&mut self, mut bytes: &[u8], passed: &mut Vec<u8>) -> Result<usize, Violation> {
        let mut kept = 0;
        while !bytes.is_empty() {
            bytes = match &mut self.message {
                Message { skipped: 0, .. } => self.pass_line(bytes, passed)?,
                message => {
                    let before = message.header + message.payload;
                    let others = message.pass(bytes, passed)?;
                    let after = message.header + message.payload;
                    kept += if message.is_reply { 0 } else { before - after };
                    others
                }
            };
        }
        Ok(kept + std::mem::take(&mut self.subjects))
    }

    /// What the first INFO line has said.
    pub(super) fn info(&self) -> Option<ServerInfo> {
        self.info
    }

    /// Whether the first INFO line is all that has arrived.
    pub(super) fn has_only_info(&self) -> bool {
        self.info.is_some() && self.lines == 1 && self.line.is_empty()
    }

    /// Takes bytes up to the end of a line, and returns the others.
    fn pass_line<'a>(&mut self, bytes: &'a [u8], passed: &mut Vec<u8>) -> Result<&'a [u8], Violation> {
        let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |index| index + 1);
        let (taken, others) = bytes.split_at(end);
        if self.line.len() + taken.len() > MAX_LINE_BYTES {
            return Err(Violation::Line);
        }
        self.line.extend_from_slice(taken);
        if self.line.ends_with(b"\r\n") {
            let mut line = std::mem::take(&mut self.line);
            self.complete_line(&line[..line.len() - 2], passed)?;
            line.clear();
            self.line = line;
        }
        Ok(others)
    }

    fn complete_line(&mut self, line: &[u8], passed: &mut Vec<u8>) -> Result<(), Violation> {
        let text = std::str::from_utf8(line).map_err(|_| malformed(line))?;
        if let Some(info) = text.strip_prefix("INFO ") {
            let (info, line) = for_client(info).ok_or_else(|| malformed(b"INFO without an object"))?;
            self.info.get_or_insert(info);
            passed.extend_from_slice(line.as_bytes());
        } else if self.info.is_none() {
            return Err(Violation::NoInfo);
        } else if let Some(arguments) = text.strip_prefix("MSG ") {
            let arguments = arguments.split(' ').filter(|argument| !argument.is_empty()).collect();
            self.begin_message("MSG", arguments, passed).ok_or_else(|| malformed(line))??;
        } else if let Some(arguments) = text.strip_prefix("HMSG ") {
            let arguments = arguments.split_whitespace().collect();
            self.begin_message("HMSG", arguments, passed).ok_or_else(|| malformed(line))??;
        } else if ["+OK", "PING", "PONG", "-ERR "].iter().any(|start| text.starts_with(start)) {
            passed.extend_from_slice(line);
        } else {
            return Err(malformed(line));
        }
        self.lines += 1;
        passed.extend_from_slice(b"\r\n");
        Ok(())
    }

    /// Reads `subject sid [reply-to] [header bytes] bytes`. `None` if it is something else.
    fn begin_message(
        &mut self,
        verb: &str,
        mut arguments: Vec<&str>,
        passed: &mut Vec<u8>,
    ) -> Option<Result<(), Violation>> {
        let bytes: usize = arguments.pop()?.parse().ok()?;
        let header = if verb == "HMSG" { Some(arguments.pop()?.parse::<usize>().ok()?) } else { None };
        let (2 | 3, Ok(sid)) = (arguments.len(), arguments.get(1)?.parse::<u64>()) else { return None };
        let header_bytes = header.unwrap_or_default();
        let payload = bytes.checked_sub(header_bytes)?;
        if header_bytes > MAX_HEADER_BYTES {
            return Some(Err(Violation::Headers(header_bytes)));
        }
        if sid == REPLIES && bytes > MAX_REPLY_BYTES {
            return Some(Err(Violation::Reply(bytes)));
        }
        if bytes > LARGEST_MESSAGE_BYTES {
            return Some(Err(Violation::Message(bytes)));
        }
        // More would be too large for a function, and this much for a dead letter.
        let kept = payload.min(MAX_MESSAGE_BYTES);
        let total = header_bytes + kept;
        let header = header.map(|bytes| format!("{bytes} ")).unwrap_or_default();
        let line = format!("{verb} {} {header}{total}", arguments.join(" "));
        passed.extend_from_slice(line.as_bytes());
        if total == 0 {
            // The end of the line is still to be written, and after it that of the message.
            passed.extend_from_slice(b"\r\n");
        }
        let skipped = bytes - total + b"\r\n".len();
        let is_reply = sid == REPLIES;
        if !is_reply {
            self.subjects += arguments[0].len() + arguments.get(2).map_or(0, |reply_to| reply_to.len());
        }
        self.message = Message { header: header_bytes, header_lines: 0, payload: kept, skipped, is_reply };
        Some(Ok(()))
    }
}

impl Message {
    /// Takes bytes up to the end of the message, and returns the others.
    fn pass<'a>(&mut self, bytes: &'a [u8], passed: &mut Vec<u8>) -> Result<&'a [u8], Violation> {
        let (header, others) = bytes.split_at(bytes.len().min(self.header));
        let (payload, others) = others.split_at(others.len().min(self.payload));
        let skipped = others.len().min(self.skipped);
        self.header_lines += header.iter().filter(|byte| **byte == b'\n').count();
        if self.header_lines > MAX_HEADER_LINES {
            return Err(Violation::HeaderLines);
        }
        passed.extend_from_slice(header);
        passed.extend_from_slice(payload);
        self.header -= header.len();
        self.payload -= payload.len();
        self.skipped -= skipped;
        let has_passed = header.len() + payload.len() > 0;
        if has_passed && self.header == 0 && self.payload == 0 {
            passed.extend_from_slice(b"\r\n");
        }
        Ok(&others[skipped..])
    }
}

/// The INFO line for the client, without the end of the line: it needs no TLS, and knows no other servers. `None` if
/// it is not an object.
fn for_client(info: &str) -> Option<(ServerInfo, String)> {
    let mut info: Map<String, Value> = serde_json::from_str(info).ok()?;
    let requires_tls = info.get("tls_required").is_some_and(|required| required == true);
    for other in ["connect_urls", "ws_connect_urls", "tls_required", "tls_available", "tls_verify"] {
        info.remove(other);
    }
    Some((ServerInfo { requires_tls }, format!("INFO {}", Value::Object(info))))
}

fn malformed(line: &[u8]) -> Violation {
    Violation::Malformed(String::from_utf8_lossy(line).chars().take(SHOWN_CHARS).collect())
}

#[cfg(test)]
mod tests {
    use rand::rngs::StdRng;
    use rand::{RngExt as _, SeedableRng as _};

    use super::*;

    const INFO: &str = "INFO {\"port\":4222}\r\n";

    /// What passes of bytes that arrive in pieces of this size.
    fn passed(bytes: &[u8], piece: usize) -> Result<String, Violation> {
        let (mut frames, mut passed) = (Frames::default(), Vec::new());
        for bytes in bytes.chunks(piece) {
            frames.pass(bytes, &mut passed)?;
        }
        Ok(String::from_utf8(passed).expect("text"))
    }

    #[test]
    fn what_passes_unchanged() {
        for bytes in [
            "+OK\r\n",
            "PING\r\nPONG\r\nPING\r\n",
            "-ERR 'Authorization Violation'\r\n",
            "-ERR a lone\nor \r in a line\r\n",
            "MSG a.b 9 11\r\nHello\r\nWorl\r\n",
            "MSG a.b 9 reply 0\r\n\r\nPING\r\n",
            "MSG a.\u{a0}b 0 2\r\n\u{e9}\r\n",
            "HMSG a 1 $JS.ACK.x 12 14\r\nNATS/1.0\r\n\r\nhi\r\nPONG\r\n",
            "HMSG a 1 28 28\r\nNATS/1.0 404 No Messages\r\n\r\n\r\n",
            "INFO {\"ldm\":true}\r\n",
        ] {
            let bytes = format!("{INFO}{bytes}");
            for piece in [1, 2, 3, 7, bytes.len()] {
                assert_eq!(passed(bytes.as_bytes(), piece).as_deref(), Ok(bytes.as_str()), "{piece}");
            }
        }
    }

    #[test]
    fn what_the_client_need_not_know_is_removed() {
        for (sent, expected, requires_tls) in [
            (r#"{"connect_urls":["10.0.0.1:1"],"ws_connect_urls":["h"],"port":1}"#, r#"{"port":1}"#, false),
            (r#"{"tls_required":true,"tls_available":true,"tls_verify":true}"#, "{}", true),
            (r#"{"tls_required":"yes"}"#, "{}", false),
        ] {
            let (mut frames, mut passed) = (Frames::default(), Vec::new());
            frames.pass(format!("INFO {sent}\r\n").as_bytes(), &mut passed).expect(sent);
            assert_eq!(passed, format!("INFO {expected}\r\n").into_bytes());
            assert_eq!(frames.info(), Some(ServerInfo { requires_tls }), "{sent}");
        }
    }

    #[test]
    fn violations() {
        let shown = |line: &str| Violation::Malformed(line.chars().take(SHOWN_CHARS).collect());
        let filled = |start: &str, bytes: usize| format!("{start}{}", "a".repeat(bytes - start.len()));
        let longest = filled("-ERR ", MAX_LINE_BYTES - 2);
        assert!(passed(format!("{INFO}{longest}\r\n").as_bytes(), 4096).is_ok());
        for (bytes, expected) in [
            (format!("{longest}a\r\n"), Violation::Line),
            (filled("INFO {\"a\":\"", MAX_LINE_BYTES + 1), Violation::Line),
            ("\n".repeat(MAX_LINE_BYTES + 1), Violation::Line),
            ("MSG a 1 67108865\r\n".into(), Violation::Message(67_108_865)),
            ("HMSG a 1 12 67108865\r\n".into(), Violation::Message(67_108_865)),
            ("MSG a 0 1048577\r\n".into(), Violation::Reply(1_048_577)),
            ("HMSG a 0 12 1048577\r\n".into(), Violation::Reply(1_048_577)),
            ("HMSG a 1 65537 65539\r\n".into(), Violation::Headers(65_537)),
            (format!("HMSG a 1 2050 2050\r\n{}", "\r\n".repeat(1025)), Violation::HeaderLines),
            ("MSG a 1 99999999999999999999\r\n".into(), shown("MSG a 1 99999999999999999999")),
            ("MSG a 1 -1\r\n".into(), shown("MSG a 1 -1")),
            ("MSG a 1 x\r\n".into(), shown("MSG a 1 x")),
            ("MSG a 1\r\n".into(), shown("MSG a 1")),
            ("MSG a -1 1\r\n".into(), shown("MSG a -1 1")),
            ("MSG a 1 b c 1\r\n".into(), shown("MSG a 1 b c 1")),
            ("MSG \r\n".into(), shown("MSG ")),
            ("HMSG a 1 2\r\n".into(), shown("HMSG a 1 2")),
            ("HMSG a 1 3 2\r\n".into(), shown("HMSG a 1 3 2")),
            ("HMSG a 1 -3 2\r\n".into(), shown("HMSG a 1 -3 2")),
            ("HMSG a 1 b c 1 2\r\n".into(), shown("HMSG a 1 b c 1 2")),
            // The client would panic.
            ("-ERR\r\n".into(), shown("-ERR")),
            ("msg a 1 1\r\n".into(), shown("msg a 1 1")),
            ("INFO []\r\n".into(), shown("INFO without an object")),
            ("INFO {\r\n".into(), shown("INFO without an object")),
            ("HTTP/1.1 400 Bad Request\r\n".into(), shown("HTTP/1.1 400 Bad Request")),
        ] {
            let bytes = format!("{INFO}{bytes}");
            for piece in [1, 4096] {
                assert_eq!(passed(bytes.as_bytes(), piece), Err(expected.clone()), "{bytes:.60}");
            }
        }
        assert_eq!(passed(b"+OK\r\n", 1), Err(Violation::NoInfo));
        let error = shown("\u{1b}[2J").to_string();
        assert_eq!(error, "the server sent a line that is not NATS: \"\\u{1b}[2J\"");
    }

    /// The client reads what passes as it was read here: read again, it passes as it is.
    #[test]
    fn what_passes_is_read_in_one_way() {
        let parts = [
            "MSG a 1 ",
            "HMSG a 1 ",
            "MSG a  0 r ",
            "0",
            "2",
            "+4 ",
            "12",
            " ",
            "\r\n",
            "\r",
            "\n",
            "NATS/1.0\r\n\r\n",
            "hi",
            "PING",
            "+OK\r\n",
            "-ERR ",
            "INFO {}\r\n",
            "INFO ",
            "{\"a\":1}",
        ];
        let mut random = StdRng::seed_from_u64(7);
        let mut accepted = 0;
        for _ in 0..20_000 {
            let parts = (0..random.random_range(1..12)).map(|_| parts[random.random_range(0..parts.len())]);
            let bytes = format!("{INFO}{}", parts.collect::<String>());
            let (piece, all) = (random.random_range(1..9), passed(bytes.as_bytes(), bytes.len()));
            assert_eq!(passed(bytes.as_bytes(), piece), all, "{bytes:?} in pieces of {piece}");
            if let Ok(first) = all {
                assert_eq!(passed(first.as_bytes(), piece), Ok(first.clone()), "{bytes:?}");
                accepted += usize::from(first.len() > INFO.len());
            }
        }
        assert!(accepted > 1000, "{accepted} inputs pass");
    }

    #[test]
    fn messages_are_counted() {
        for (bytes, expected) in [
            ("MSG a 1 5\r\nhello\r\n", 6),
            ("HMSG a 1 to 12 14\r\nNATS/1.0\r\n\r\nhi\r\n", 17),
            ("MSG a 0 5\r\nhello\r\n", 0),
            ("MSG a 1 0\r\n\r\nMSG a 1 500\r\nhello", 7),
            ("PING\r\n", 0),
        ] {
            let (mut frames, mut passed) = (Frames::default(), Vec::new());
            frames.pass(INFO.as_bytes(), &mut passed).expect("it passes");
            let counts = bytes.as_bytes().chunks(3).map(|bytes| frames.pass(bytes, &mut passed));
            assert_eq!(counts.sum::<Result<usize, _>>(), Ok(expected), "{bytes}");
        }
    }

    #[test]
    fn of_large_messages_a_part_passes() {
        let large = MAX_MESSAGE_BYTES + 3;
        let payload = "a".repeat(large);
        let bytes = format!(
            "{INFO}MSG s 1 r {large}\r\n{payload}\r\nHMSG s 1 r 2 {}\r\nhh{payload}\r\n+OK\r\n",
            large + 2
        );
        let kept = &payload[..MAX_MESSAGE_BYTES];
        let expected = format!(
            "{INFO}MSG s 1 r {MAX_MESSAGE_BYTES}\r\n{kept}\r\nHMSG s 1 r 2 {}\r\nhh{kept}\r\n+OK\r\n",
            MAX_MESSAGE_BYTES + 2
        );
        assert!(passed(bytes.as_bytes(), 32 << 10).expect("it is within limits") == expected);
    }
}
