//! Messages of MQTT brokers, and how they become arguments of functions.

use std::collections::BTreeMap;

use arbitrary::{Result, Unstructured};
use bytes::Bytes;
use connector_svc::{MqttInvocation, MqttMessage, read_mqtt};
use serde::Deserialize;
use serde_json::json;
use serde_json::value::RawValue;

use crate::{Check, Verdict, assert_message};

/// The largest argument that fits into a message, in bytes.
const MAX_ARGS_BYTES: usize = mesh::MAX_MESSAGE_BYTES;

/// How the binding handles messages.
struct Binding {
    form: &'static str,
    envelope: bool,
    dedupe_key: Option<String>,
}

/// What a function gets if the binding has an envelope.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    payload: &'a RawValue,
    topic: String,
    qos: u8,
    retained: bool,
    properties: BTreeMap<String, String>,
}

/// Inputs are a binding and a message.
pub fn open() -> Check {
    Box::new(|data| read(&mut Unstructured::new(data)).unwrap_or(Verdict::Refused))
}

fn read(input: &mut Unstructured<'_>) -> Result<Verdict> {
    let binding = Binding {
        form: input.choose(&["json", "text", "base64"])?,
        envelope: input.arbitrary()?,
        dedupe_key: match input.int_in_range(0..=2)? {
            0 => None,
            1 => Some("property:id".to_owned()),
            _ => Some(input.arbitrary::<&str>()?.chars().take(200).collect()),
        },
    };
    let count = input.int_in_range(0..=4)?;
    let properties = (0..count).map(|_| input.arbitrary()).collect::<Result<_>>()?;
    let message = MqttMessage {
        topic: input.arbitrary()?,
        qos: input.int_in_range(0..=2)?,
        retained: input.arbitrary()?,
        properties,
        payload: Bytes::copy_from_slice(input.bytes(input.len())?),
    };
    Ok(check(&binding, message))
}

fn check(binding: &Binding, message: MqttMessage) -> Verdict {
    let Binding { form, envelope, dedupe_key } = binding;
    let mut params = json!({ "host": "broker", "topic": "#", "payload": form, "envelope": envelope });
    if let Some(key) = dedupe_key {
        params["dedupe_key"] = key.as_str().into();
    }
    let found = read_mqtt(&params.to_string(), message.clone());
    assert_eq!(found, read_mqtt(&params.to_string(), message.clone()), "it depends on the message alone");
    let invocation = match found {
        Ok(invocation) => invocation,
        Err(reason) => {
            assert_message(&reason);
            let invalid_key = reason.contains("dedupe_key");
            assert!(invalid_key || *form != "base64", "everything can be encoded: {reason}");
            return Verdict::Refused;
        }
    };
    check_invocation(binding, &message, &invocation);
    Verdict::Accepted
}

fn check_invocation(binding: &Binding, message: &MqttMessage, invocation: &MqttInvocation) {
    let MqttInvocation { args, id, trace, .. } = invocation;
    assert!(args.len() <= MAX_ARGS_BYTES, "arguments of {} bytes", args.len());
    let args = std::str::from_utf8(args).expect("arguments are UTF-8");
    let properties: BTreeMap<_, _> = message.properties.iter().cloned().collect();
    let payload = if binding.envelope {
        let read: Envelope<'_> = serde_json::from_str(args).expect("the envelope is JSON");
        assert_eq!(read.topic, message.topic);
        assert_eq!((read.qos, read.retained), (message.qos, message.retained));
        assert_eq!(read.properties, properties, "of several with one name, the last one");
        read.payload.get()
    } else {
        serde_json::from_str::<&RawValue>(args).expect("arguments are JSON").get()
    };
    match binding.form {
        "json" => assert_eq!(payload.as_bytes(), trimmed(&message.payload), "it is not changed"),
        "text" => {
            let text: String = serde_json::from_str(payload).expect("a string");
            assert_eq!(text.as_bytes(), message.payload, "it is not changed");
        }
        _ => assert_eq!(payload.len(), message.payload.len().div_ceil(3) * 4 + 2, "it is in Base64"),
    }
    match binding.dedupe_key.as_deref() {
        None => assert_eq!(*id, None, "there is nothing to derive an id from"),
        Some("property:id") => assert_eq!(id.is_some(), properties.contains_key("id"), "{id:?}"),
        Some(_) => {}
    }
    assert!(trace.iter().all(|name| properties.contains_key(name)), "{trace:?}");
}

/// Without JSON's white space at both ends.
fn trimmed(json: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\n' | b'\r');
    let start = json.iter().position(|byte| !is_space(byte)).unwrap_or(json.len());
    let end = json.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &json[start..end]
}
