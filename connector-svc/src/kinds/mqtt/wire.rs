//! The two versions of the protocol, as one. rumqttc has a client of its own for each.

use std::time::Duration;

use bytes::Bytes;
use mesh::MAX_MESSAGE_BYTES;
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode as Code5, Filter, Packet as Packet5, Publish as Publish5, RetainForwardRule,
    SubscribeReasonCode,
};
use rumqttc::{
    ConnectReturnCode, NetworkOptions, Outgoing, Packet, Publish, QoS, SubscribeReasonCode as Granted, v5,
};

use super::params::{Params, Version};

/// How often the broker is asked whether it is there. It also says by its answer what it has heard, which
/// need not be remembered any more.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The largest packet that is taken, in bytes. With MQTT 5 the broker knows what is too large for a
/// function and does not send it. With 3.1.1 it does, and that is refused, so that it does not come again
/// and again; but a packet has to be in memory for that, and MQTT knows packets of 256 MiB.
const LARGEST_PACKET: usize = 64 << 20;
/// Requests of ours that wait for the wire: as many acknowledgements as there are packet ids, and a few.
const REQUESTS: usize = 1 << 17;
/// Messages that we publish at once: none.
const OUTGOING: u16 = 8;

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum Notice {
    /// The broker has let us in, and says whether it has kept the session.
    Connected { session_present: bool },
    /// The broker has taken the subscription with this quality of service, or says why not.
    Subscribed(Result<u8, String>),
    /// A message has come.
    Message(Message),
    /// An acknowledgement of the packet is on the wire.
    Acknowledged(u16),
    /// A ping is on the wire.
    Pinged,
    /// The ping is answered.
    Ponged,
    /// Our good-bye is on the wire.
    Disconnected,
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    /// 0 when it is not to be acknowledged.
    pub(super) packet_id: u16,
    pub(super) duplicate: bool,
    pub(super) qos: u8,
    pub(super) retained: bool,
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) properties: Vec<(String, String)>,
}

/// One connection after the other to the same broker.
pub(super) enum Wire {
    /// MQTT 3.1.1.
    V311(rumqttc::AsyncClient, Box<rumqttc::EventLoop>),
    /// MQTT 5.
    V5(v5::AsyncClient, Box<v5::EventLoop>),
}

/// What the broker shall keep for us.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Keep {
    /// The session: the subscription, and what has not been acknowledged.
    Session,
    /// Nothing.
    Nothing,
}

/// An acknowledgement is small, and the broker waits for it before it sends more.
fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}

impl Wire {
    /// Nothing is connected yet. At most `window` messages shall be on their way to us.
    pub(super) fn new(params: &Params, client_id: &str, window: u16, keep: Keep) -> Result<Self, String> {
        match params.version {
            Version::V5 => Self::v5(params, client_id, window, keep),
            Version::V311 => Self::v311(params, client_id, keep),
        }
    }

    fn v5(params: &Params, client_id: &str, window: u16, keep: Keep) -> Result<Self, String> {
        let mut options = v5::MqttOptions::new(client_id, &params.host, params.port());
        options
            .set_transport(params.transport()?)
            .set_keep_alive(KEEP_ALIVE)
            .set_manual_acks(true)
            .set_clean_start(keep == Keep::Nothing)
            .set_receive_maximum(Some(window))
            .set_max_packet_size(u32::try_from(MAX_MESSAGE_BYTES).ok())
            .set_outgoing_inflight_upper_limit(OUTGOING)
            .set_network_options(network());
        if keep == Keep::Session {
            options.set_session_expiry_interval(Some(params.session_expiry_s));
        }
        if let Some(username) = &params.username {
            let password = params.password.as_ref().map_or("", |password| password.expose());
            options.set_credentials(username, password);
        }
        let (client, events) = v5::AsyncClient::new(options, REQUESTS);
        Ok(Self::V5(client, Box::new(events)))
    }

    fn v311(params: &Params, client_id: &str, keep: Keep) -> Result<Self, String> {
        let mut options = rumqttc::MqttOptions::new(client_id, &params.host, params.port());
        options
            .set_transport(params.transport()?)
            .set_keep_alive(KEEP_ALIVE)
            .set_manual_acks(true)
            .set_clean_session(keep == Keep::Nothing)
            .set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET)
            .set_inflight(OUTGOING);
        if let Some(username) = &params.username {
            let password = params.password.as_ref().map_or("", |password| password.expose());
            options.set_credentials(username, password);
        }
        let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS);
        events.set_network_options(network());
        Ok(Self::V311(client, Box::new(events)))
    }

    /// What happens next, if it is of interest. Connects when there is no connection, and says why there
    /// is none any more. Not to be dropped half-way.
    pub(super) async fn poll(&mut self) -> Result<Option<Notice>, String> {
        match self {
            Self::V311(_, events) => events.poll().await.map(notice_v311).map_err(|error| {
                // What was read before the connection broke comes again on the next one.
                events.state.events.clear();
                words_v311(&error)
            }),
            Self::V5(_, events) => events.poll().await.map(notice_v5).map_err(|error| {
                events.state.events.clear();
                words_v5(&error)
            }),
        }
    }

    /// Drops the connection.
    pub(super) fn cut(&mut self) {
        match self {
            Self::V311(_, events) => {
                events.clean();
                events.state.events.clear();
            }
            Self::V5(_, events) => {
                events.clean();
                events.state.events.clear();
            }
        }
    }

    /// Whether subscribing again to the same has no effect.
    pub(super) fn can_subscribe_again(&self) -> bool {
        // With 3.1.1 all retained messages would come again.
        matches!(self, Self::V5(..))
    }

    /// Asks for messages.
    pub(super) fn subscribe(&self, topic: &str, qos: u8) -> Result<(), String> {
        let asked = match self {
            Self::V311(client, _) => {
                let qos = if qos == 0 { QoS::AtMostOnce } else { QoS::AtLeastOnce };
                client.try_subscribe(topic, qos).is_ok()
            }
            Self::V5(client, _) => {
                let qos = if qos == 0 { QoS5::AtMostOnce } else { QoS5::AtLeastOnce };
                let retain_forward_rule = RetainForwardRule::OnNewSubscribe;
                let filter = Filter { retain_forward_rule, ..Filter::new(topic, qos) };
                client.try_subscribe_many([filter]).is_ok()
            }
        };
        if asked { Ok(()) } else { Err(format!("{topic:?} cannot be subscribed to")) }
    }

    /// A handle that acknowledges packets.
    pub(super) fn acknowledger(&self) -> Acknowledger {
        match self {
            Self::V311(client, _) => Acknowledger::V311(client.clone()),
            Self::V5(client, _) => Acknowledger::V5(client.clone()),
        }
    }
}

/// Says to the broker what it need not keep. What is said goes out with the next polls.
pub(super) enum Acknowledger {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

impl Acknowledger {
    /// Acknowledges a packet of this connection.
    pub(super) fn acknowledge(&self, packet_id: u16) {
        let said = match self {
            Self::V311(client) => {
                let mut packet = Publish::new("", QoS::AtLeastOnce, Vec::new());
                packet.pkid = packet_id;
                client.try_ack(&packet).is_ok()
            }
            Self::V5(client) => {
                let packet = Publish5 { pkid: packet_id, qos: QoS5::AtLeastOnce, ..Publish5::default() };
                client.try_ack(&packet).is_ok()
            }
        };
        if !said {
            tracing::warn!(packet_id, "an acknowledgement found no room; the message will come again");
        }
    }

    /// Says good-bye.
    pub(super) fn disconnect(&self) {
        // Without room for it the connection is cut.
        let _ = match self {
            Self::V311(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        };
    }
}

fn outgoing(packet: &Outgoing) -> Option<Notice> {
    match packet {
        Outgoing::PubAck(packet_id) => Some(Notice::Acknowledged(*packet_id)),
        Outgoing::PingReq => Some(Notice::Pinged),
        Outgoing::Disconnect => Some(Notice::Disconnected),
        _ => None,
    }
}

fn notice_v311(event: rumqttc::Event) -> Option<Notice> {
    let packet = match event {
        rumqttc::Event::Incoming(packet) => packet,
        rumqttc::Event::Outgoing(packet) => return outgoing(&packet),
    };
    match packet {
        Packet::ConnAck(answer) => Some(Notice::Connected { session_present: answer.session_present }),
        Packet::SubAck(answer) => Some(Notice::Subscribed(match answer.return_codes.first() {
            Some(Granted::Success(qos)) => Ok(*qos as u8),
            _ => Err("the broker refuses the subscription".into()),
        })),
        Packet::Publish(packet) => Some(Notice::Message(Message {
            packet_id: packet.pkid,
            duplicate: packet.dup,
            qos: packet.qos as u8,
            retained: packet.retain,
            topic: packet.topic,
            payload: packet.payload,
            properties: Vec::new(),
        })),
        Packet::PingResp => Some(Notice::Ponged),
        _ => None,
    }
}

fn notice_v5(event: v5::Event) -> Option<Notice> {
    let packet = match event {
        v5::Event::Incoming(packet) => packet,
        v5::Event::Outgoing(packet) => return outgoing(&packet),
    };
    match packet {
        Packet5::ConnAck(answer) => Some(Notice::Connected { session_present: answer.session_present }),
        Packet5::SubAck(answer) => Some(Notice::Subscribed(match answer.return_codes.first() {
            Some(SubscribeReasonCode::Success(qos)) => Ok(*qos as u8),
            Some(SubscribeReasonCode::NotAuthorized) => {
                Err("the broker refuses the subscription: not authorized".into())
            }
            Some(code) => Err(format!("the broker refuses the subscription: {code:?}")),
            None => Err("the broker refuses the subscription".into()),
        })),
        Packet5::Publish(packet) => Some(Notice::Message(Message {
            packet_id: packet.pkid,
            duplicate: packet.dup,
            qos: packet.qos as u8,
            retained: packet.retain,
            topic: String::from_utf8_lossy(&packet.topic).into_owned(),
            payload: packet.payload,
            properties: packet.properties.map(|properties| properties.user_properties).unwrap_or_default(),
        })),
        Packet5::PingResp(_) => Some(Notice::Ponged),
        _ => None,
    }
}

fn words_v311(error: &rumqttc::ConnectionError) -> String {
    use rumqttc::{ConnectionError, StateError};
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::NotAuthorized => refused("not authorized"),
            ConnectReturnCode::BadUserNamePassword => refused("bad user name or password"),
            ConnectReturnCode::RefusedProtocolVersion => refused("it does not speak MQTT 3.1.1"),
            code => refused(&format!("{code:?}")),
        },
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => timed_out(),
        ConnectionError::Io(error) => unreachable_broker(error),
        ConnectionError::Tls(error) => format!("no TLS with the broker: {error}"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => closed(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => silent(),
        ConnectionError::MqttState(StateError::Deserialization(PacketError::PayloadSizeLimitExceeded(
            bytes,
        ))) => too_large(*bytes),
        other => format!("the connection to the broker broke: {other}"),
    }
}

fn words_v5(error: &v5::ConnectionError) -> String {
    use v5::{ConnectionError, StateError};
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            Code5::NotAuthorized => refused("not authorized"),
            Code5::BadUserNamePassword => refused("bad user name or password"),
            Code5::UnsupportedProtocolVersion | Code5::RefusedProtocolVersion => {
                refused("it does not speak MQTT 5; set \"version\":\"3.1.1\"")
            }
            code => refused(&format!("{code:?}")),
        },
        ConnectionError::Timeout(_) => timed_out(),
        ConnectionError::Io(error) => unreachable_broker(error),
        ConnectionError::Tls(error) => format!("no TLS with the broker: {error}"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => closed(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => silent(),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            format!("the broker ended the connection: {reason_code:?}")
        }
        other => format!("the connection to the broker broke: {other}"),
    }
}

fn refused(why: &str) -> String {
    format!("the broker refuses the connection: {why}")
}

fn unreachable_broker(error: &std::io::Error) -> String {
    format!("cannot reach the broker: {error}")
}

fn timed_out() -> String {
    "the broker does not answer".into()
}

/// It comes again and again: only who has the broker can take it away.
fn too_large(bytes: usize) -> String {
    format!(
        "the broker sends a message of {bytes} bytes, more than the {LARGEST_PACKET} that are taken; no \
         other comes before it is gone from the broker"
    )
}

fn closed() -> String {
    "the broker closed the connection".into()
}

fn silent() -> String {
    "the broker has fallen silent".into()
}
