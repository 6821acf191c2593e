//! For fuzzers: what a message causes, without a broker.

use bytes::Bytes;

use super::client::Message;
use super::params::Params;
use super::{event, fingerprint};

/// A message as the broker sends it.
#[derive(Debug, Clone, Default)]
pub struct MqttMessage {
    /// Where it was published.
    pub topic: String,
    /// Its content.
    pub payload: Bytes,
    /// The quality of service: 0, 1 or 2.
    pub qos: u8,
    /// Whether the broker had kept it.
    pub retained: bool,
    /// The sender's properties.
    pub properties: Vec<(String, String)>,
}

/// The invocation that a message causes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MqttInvocation {
    /// One JSON value.
    pub args: Bytes,
    /// The id, if it is derived from the message.
    pub id: Option<String>,
    /// The names of the headers of its trace.
    pub trace: Vec<String>,
    /// What identifies the message.
    pub fingerprint: String,
}

/// What a message causes for a binding with these parameters, a JSON text. An error says why one of them is invalid.
pub fn read_mqtt(params: &str, message: MqttMessage) -> Result<MqttInvocation, String> {
    let (_, handling) = Params::parse(params)?;
    let MqttMessage { topic, payload, qos, retained, properties } = message;
    let message = Message { packet_id: 1, duplicate: false, qos, retained, topic, payload, properties };
    let fingerprint = fingerprint(&message).to_string();
    let event = event(message);
    let id = event.invocation_id("binding", handling.dedupe_key.as_ref());
    Ok(MqttInvocation {
        args: event.args(&handling)?,
        id: id.map(|id| id.to_string()),
        trace: event.trace().keys().map(ToString::to_string).collect(),
        fingerprint,
    })
}
