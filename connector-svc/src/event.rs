//! Events, and how they become arguments of functions.

use std::collections::HashMap;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use http::HeaderMap;
use mesh::MAX_MESSAGE_BYTES;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;
use serde_json::{Map, Value};
use uuid::Uuid;

use crate::handling::{DedupeKey, Handling, PayloadForm};

/// The maximum size of an argument in bytes: a message must hold it and the other fields of a request.
const MAX_ARGS_BYTES: usize = MAX_MESSAGE_BYTES - (64 << 10);

/// The headers of a trace, which events carry as properties.
const TRACE_HEADERS: [&str; 3] = ["traceparent", "tracestate", "baggage"];

/// An event as its source sent it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Event {
    pub(crate) payload: Bytes,
    /// Metadata for the envelope, such as the topic.
    pub(crate) about: Vec<(&'static str, Value)>,
    /// The sender's properties or headers. A name may occur more than once.
    pub(crate) properties: Vec<(String, String)>,
}

impl Event {
    /// The function's argument, one JSON value. An error says why the event is invalid.
    pub(crate) fn args(&self, handling: &Handling) -> Result<Bytes, String> {
        if self.payload.len() > MAX_ARGS_BYTES {
            return Err(format!("the payload is larger than {MAX_ARGS_BYTES} bytes"));
        }
        let payload = self.payload_as(handling.payload)?;
        let args = if handling.envelope { self.envelope(&payload) } else { payload };
        match args.len() {
            0..=MAX_ARGS_BYTES => Ok(args),
            bytes => Err(format!("it makes an argument of {bytes} bytes, more than {MAX_ARGS_BYTES}")),
        }
    }

    /// As much of the payload as a dead letter can hold.
    pub(crate) fn kept_payload(&self) -> Bytes {
        self.payload.slice(..self.payload.len().min(MAX_ARGS_BYTES))
    }

    fn envelope(&self, payload: &[u8]) -> Bytes {
        // Of several properties with one name, the last one.
        let properties: Map<_, _> =
            self.properties.iter().map(|(name, value)| (name.clone(), value.as_str().into())).collect();
        let about = self.about.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
        let about: Map<_, _> = about.chain([("properties".to_owned(), Value::Object(properties))]).collect();
        let about = Value::Object(about).to_string();
        let mut args = Vec::with_capacity(payload.len() + about.len() + 16);
        args.extend_from_slice(b"{\"payload\":");
        args.extend_from_slice(payload);
        args.push(b',');
        args.extend_from_slice(&about.as_bytes()[1..]);
        args.into()
    }

    fn payload_as(&self, form: PayloadForm) -> Result<Bytes, String> {
        let text =
            || std::str::from_utf8(&self.payload).map_err(|_| "the payload is not valid UTF-8".to_owned());
        match form {
            PayloadForm::Json => {
                let json = text()?;
                serde_json::from_str::<IgnoredAny>(json)
                    .map_err(|error| format!("the payload is not valid JSON: {error}"))?;
                Ok(self.payload.clone())
            }
            PayloadForm::Text => Ok(Value::from(text()?).to_string().into()),
            PayloadForm::Base64 => Ok(format!("\"{}\"", BASE64_STANDARD.encode(&self.payload)).into()),
        }
    }

    /// The id of the invocation that every duplicate of this event causes; `None` if it has no deduplication key.
    pub(crate) fn invocation_id(&self, binding_id: &str, dedupe_key: Option<&DedupeKey>) -> Option<Uuid> {
        let key = match dedupe_key? {
            DedupeKey::Property(name) => self.property(name)?.to_owned(),
            DedupeKey::Pointer(pointer) => text_at(pointer, &self.payload)?,
        };
        Some(derived_id(binding_id, &key))
    }

    /// The headers of the event's trace.
    pub(crate) fn trace(&self) -> HeaderMap {
        let headers = TRACE_HEADERS.into_iter().filter_map(|name| {
            let value = self.property(name)?.parse().ok()?;
            Some((http::HeaderName::from_static(name), value))
        });
        headers.collect()
    }

    /// Its topic or subject.
    pub(crate) fn destination(&self) -> Option<&str> {
        let (_, name) = self.about.iter().find(|(name, _)| matches!(*name, "topic" | "subject"))?;
        name.as_str()
    }

    fn property(&self, name: &str) -> Option<&str> {
        self.properties.iter().rev().find(|(found, _)| found == name).map(|(_, value)| value.as_str())
    }
}

/// The value at a JSON pointer: the content of a string, anything else as written, since parsed numbers may collide
/// in 64 bits. Null counts as absent.
fn text_at(pointer: &str, json: &[u8]) -> Option<String> {
    let mut found: &RawValue = serde_json::from_slice(json).ok()?;
    for token in pointer.split('/').skip(1) {
        let token = token.replace("~1", "/").replace("~0", "~");
        found = if found.get().starts_with('[') {
            let is_index = token == "0" || token.starts_with(|first: char| matches!(first, '1'..='9'));
            let index = token.parse::<usize>().ok().filter(|_| is_index)?;
            serde_json::from_str::<Vec<&RawValue>>(found.get()).ok()?.get(index).copied()?
        } else {
            serde_json::from_str::<HashMap<String, &RawValue>>(found.get()).ok()?.remove(&token)?
        };
    }
    match found.get() {
        "null" => None,
        text if text.starts_with('"') => serde_json::from_str(text).ok(),
        text => Some(text.to_owned()),
    }
}

/// The invocation id that is derived from a key of a binding.
pub(crate) fn derived_id(binding_id: &str, key: &str) -> Uuid {
    Uuid::new_v5(&Uuid::NAMESPACE_OID, format!("{binding_id}/{key}").as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(payload: &[u8]) -> Event {
        Event {
            payload: Bytes::copy_from_slice(payload),
            about: vec![("topic", "a/b".into()), ("qos", 1.into())],
            properties: vec![
                ("id".into(), "first".into()),
                ("id".into(), "7".into()),
                ("traceparent".into(), "00-1-2-01".into()),
            ],
        }
    }

    fn args(payload: &[u8], form: PayloadForm, envelope: bool) -> Result<String, String> {
        let handling = Handling { payload: form, envelope, ..Handling::default() };
        event(payload).args(&handling).map(|args| String::from_utf8(args.to_vec()).expect("UTF-8"))
    }

    #[test]
    fn payloads_become_arguments() {
        let cases: [(&[u8], PayloadForm, &str); 7] = [
            (br#"{"a": 1}"#, PayloadForm::Json, r#"{"a": 1}"#),
            (b" [1, 2e400] ", PayloadForm::Json, " [1, 2e400] "),
            (b"5", PayloadForm::Json, "5"),
            (b"", PayloadForm::Text, "\"\""),
            (b"say \"hi\"\n", PayloadForm::Text, r#""say \"hi\"\n""#),
            (b"\xff\x00", PayloadForm::Base64, r#""/wA=""#),
            (b"", PayloadForm::Base64, "\"\""),
        ];
        for (payload, form, expected) in cases {
            assert_eq!(args(payload, form, false).as_deref(), Ok(expected));
        }
    }

    #[test]
    fn other_payloads_are_invalid_with_a_reason() {
        for (payload, form, expected) in [
            (&b""[..], PayloadForm::Json, "the payload is not valid JSON"),
            (b"hello", PayloadForm::Json, "the payload is not valid JSON"),
            (b"{} {}", PayloadForm::Json, "the payload is not valid JSON"),
            (b"\"\xff\"", PayloadForm::Json, "the payload is not valid UTF-8"),
            (b"\xff", PayloadForm::Text, "the payload is not valid UTF-8"),
        ] {
            let problem = args(payload, form, true).expect_err("invalid");
            assert!(problem.starts_with(expected), "{problem}");
        }
    }

    #[test]
    fn what_is_too_large_is_invalid() {
        let digits = vec![b'1'; MAX_ARGS_BYTES];
        assert!(args(&digits, PayloadForm::Json, false).is_ok());
        let problem = args(&digits, PayloadForm::Json, true).expect_err("with its envelope");
        assert!(problem.contains("more than"), "{problem}");
        let problem = args(&[&digits[..], b"1"].concat(), PayloadForm::Json, false).expect_err("larger");
        assert!(problem.contains("larger than"), "{problem}");
        let kept = event(&[&digits[..], b"1"].concat()).kept_payload();
        assert_eq!(kept.len(), MAX_ARGS_BYTES, "a message can hold it");
    }

    #[test]
    fn an_envelope_holds_the_payload_unchanged() {
        let expected = concat!(
            r#"{"payload":{"a": 1.0},"properties":{"id":"7","traceparent":"00-1-2-01"},"#,
            r#""qos":1,"topic":"a/b"}"#
        );
        assert_eq!(args(br#"{"a": 1.0}"#, PayloadForm::Json, true).as_deref(), Ok(expected));
        let wrapped = args(b"x", PayloadForm::Text, true).expect("text");
        assert!(wrapped.starts_with(r#"{"payload":"x","properties":"#), "{wrapped}");
    }

    #[test]
    fn equal_keys_make_equal_ids_within_a_binding() {
        let id =
            |binding: &str, payload: &[u8], key: DedupeKey| event(payload).invocation_id(binding, Some(&key));
        let pointer = || DedupeKey::Pointer("/id".into());
        let one = id("b", br#"{"id":7,"n":1}"#, pointer()).expect("has a key");
        assert_eq!(id("b", br#"{"id":"7","n":2}"#, pointer()), Some(one));
        assert_eq!(id("b", b"", DedupeKey::Property("id".into())), Some(one));
        assert_ne!(id("c", br#"{"id":7}"#, pointer()), Some(one));
        assert_ne!(id("b", br#"{"id":8}"#, pointer()), Some(one));
        for without in [&b"{}"[..], br#"{"id":null}"#, b"not JSON"] {
            assert_eq!(id("b", without, pointer()), None);
        }
        assert_eq!(id("b", b"", DedupeKey::Property("no".into())), None);
        assert_eq!(event(b"").invocation_id("b", None), None);
    }

    #[test]
    fn keys_are_used_as_written() {
        for (pointer, json, expected) in [
            ("/id", r#"{"id":"7 \u00b0"}"#, Some("7 \u{b0}")),
            ("/id", r#"{"id": 18446744073709551616 }"#, Some("18446744073709551616")),
            ("/id", r#"{"id":18446744073709551617}"#, Some("18446744073709551617")),
            ("/id", r#"{"id":0.10}"#, Some("0.10")),
            ("/id", r#"{"id":true}"#, Some("true")),
            ("/id", r#"{"id":null}"#, None),
            ("/a/1/b", r#"{"a":[0,{"b":5}]}"#, Some("5")),
            ("/0", "[3]", Some("3")),
            ("/01", "[3,4]", None),
            ("/+1", "[3,4]", None),
            ("/00", "[3,4]", None),
            ("/1", "[3]", None),
            ("/a~1b/~0", r#"{"a/b":{"~":1}}"#, Some("1")),
            ("/id/x", r#"{"id":7}"#, None),
            ("/id", "not JSON", None),
        ] {
            assert_eq!(text_at(pointer, json.as_bytes()).as_deref(), expected, "{pointer} of {json}");
        }
    }

    #[test]
    fn the_trace_is_found() {
        let trace = event(b"").trace();
        assert_eq!(trace.len(), 1);
        assert_eq!(trace["traceparent"], "00-1-2-01");
    }

    #[test]
    fn the_destination_is_found() {
        assert_eq!(event(b"").destination(), Some("a/b"));
        assert_eq!(Event::default().destination(), None);
    }
}
