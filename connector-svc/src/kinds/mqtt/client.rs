//! One client for both versions of the protocol. rumqttc has one for each.

use std::time::Duration;

use bytes::Bytes;
use mesh::MAX_MESSAGE_BYTES;
use mesh::egress::Outbound;
use rumqttc::mqttbytes::Error as PacketError;
use rumqttc::v5::mqttbytes::QoS as QoS5;
use rumqttc::v5::mqttbytes::v5::{
    ConnectReturnCode as Code5, Filter, Packet as Packet5, Publish as Publish5, RetainForwardRule,
    SubscribeReasonCode,
};
use rumqttc::{
    ConnectReturnCode, NetworkOptions, Outgoing, Packet, Publish, QoS, SubscribeReasonCode as Granted,
    Transport, v5,
};

use super::dial::{BrokerDialer, Target};
use super::params::{Params, Version};

/// How often the broker is pinged. Its answer also shows which acknowledgements it has received.
const KEEP_ALIVE: Duration = Duration::from_secs(10);
/// The largest packet that is read, in bytes. With MQTT 5 the broker knows what is too large for a function and
/// does not send it. With 3.1.1 it does, and the event is invalid, so that it is not redelivered for ever; but that
/// takes a packet in memory, and MQTT has packets of up to 256 MiB.
const LARGEST_PACKET: usize = 64 << 20;
/// Requests that wait to be sent: as many acknowledgements as there are packet ids, and a few.
const REQUESTS: usize = 1 << 17;
/// Messages that may be published at once; none are.
const OUTGOING: u16 = 8;

/// What happens on a connection.
#[derive(Debug)]
pub(super) enum ClientEvent {
    /// The broker has accepted the connection.
    Connected { session_present: bool },
    /// The broker has granted the subscription with this quality of service, or refused it with a reason.
    Subscribed(Result<u8, String>),
    /// A message has arrived.
    Message(Message),
    /// An acknowledgement of the packet has been sent.
    Acknowledged(u16),
    /// A ping has been sent.
    Pinged,
    /// The ping is answered.
    Ponged,
    /// The disconnect packet has been sent.
    Disconnected,
}

/// A message.
#[derive(Debug)]
pub(super) struct Message {
    /// 0 if it needs no acknowledgement.
    pub(super) packet_id: u16,
    pub(super) duplicate: bool,
    pub(super) qos: u8,
    pub(super) retained: bool,
    pub(super) topic: String,
    pub(super) payload: Bytes,
    pub(super) properties: Vec<(String, String)>,
}

/// A client of one broker, which reconnects when it is polled.
pub(super) struct Client<'a> {
    params: &'a Params,
    session: SessionOptions,
    dialer: BrokerDialer<'a>,
    /// The client of rumqttc knows where to connect to, or is connected.
    is_dialled: bool,
    protocol: Protocol,
}

/// How a client introduces itself.
struct SessionOptions {
    client_id: String,
    /// The broker may send so many messages before it needs acknowledgements.
    window: u16,
    kind: SessionKind,
}

enum Protocol {
    /// MQTT 3.1.1.
    V311(rumqttc::AsyncClient, Box<rumqttc::EventLoop>),
    /// MQTT 5.
    V5(v5::AsyncClient, Box<v5::EventLoop>),
}

/// What the broker keeps between connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SessionKind {
    /// The subscription and unacknowledged messages.
    Persistent,
    /// Nothing.
    Clean,
}

/// Acknowledgements are small, and the broker waits for them before it sends more.
fn network() -> NetworkOptions {
    let mut network = NetworkOptions::new();
    network.set_tcp_nodelay(true);
    network
}

/// Where to connect to before that is known: nowhere.
fn unknown() -> Target {
    Target { host: "0.0.0.0".into(), port: 0, transport: Transport::Tcp }
}

impl SessionOptions {
    fn v5(&self, params: &Params, target: Target) -> v5::MqttOptions {
        let mut options = v5::MqttOptions::new(&self.client_id, target.host, target.port);
        options
            .set_transport(target.transport)
            .set_keep_alive(KEEP_ALIVE)
            .set_manual_acks(true)
            .set_clean_start(self.kind == SessionKind::Clean)
            .set_receive_maximum(Some(self.window))
            .set_max_packet_size(u32::try_from(MAX_MESSAGE_BYTES).ok())
            .set_outgoing_inflight_upper_limit(OUTGOING)
            .set_network_options(network());
        if self.kind == SessionKind::Persistent {
            options.set_session_expiry_interval(Some(params.session_expiry_s));
        }
        if let Some(username) = &params.username {
            let password = params.password.as_ref().map_or("", |password| password.expose());
            options.set_credentials(username, password);
        }
        options
    }

    fn v311(&self, params: &Params, target: Target) -> rumqttc::MqttOptions {
        let mut options = rumqttc::MqttOptions::new(&self.client_id, target.host, target.port);
        options
            .set_transport(target.transport)
            .set_keep_alive(KEEP_ALIVE)
            .set_manual_acks(true)
            .set_clean_session(self.kind == SessionKind::Clean)
            .set_max_packet_size(LARGEST_PACKET, LARGEST_PACKET)
            .set_inflight(OUTGOING);
        if let Some(username) = &params.username {
            let password = params.password.as_ref().map_or("", |password| password.expose());
            options.set_credentials(username, password);
        }
        options
    }
}

impl<'a> Client<'a> {
    /// Not connected yet. The broker may send `window` messages before it needs acknowledgements.
    pub(super) fn new(
        params: &'a Params,
        outbound: &'a Outbound,
        client_id: &str,
        window: u16,
        kind: SessionKind,
    ) -> Self {
        let session = SessionOptions { client_id: client_id.to_owned(), window, kind };
        let protocol = match params.version {
            Version::V5 => {
                let (client, events) = v5::AsyncClient::new(session.v5(params, unknown()), REQUESTS);
                Protocol::V5(client, Box::new(events))
            }
            Version::V311 => {
                let options = session.v311(params, unknown());
                let (client, mut events) = rumqttc::AsyncClient::new(options, REQUESTS);
                events.set_network_options(network());
                Protocol::V311(client, Box::new(events))
            }
        };
        let dialer = BrokerDialer::new(params, outbound);
        Self { params, session, dialer, is_dialled: false, protocol }
    }

    /// The next event, if it is of interest. Connects if there is no connection; an error says why it was lost.
    /// Not cancel-safe.
    pub(super) async fn poll(&mut self) -> Result<Option<ClientEvent>, String> {
        if !self.is_dialled {
            let target = self.dialer.dial().await?;
            match &mut self.protocol {
                Protocol::V311(_, events) => events.mqtt_options = self.session.v311(self.params, target),
                Protocol::V5(_, events) => events.options = self.session.v5(self.params, target),
            }
            self.is_dialled = true;
        }
        let polled = self.protocol.poll().await;
        match &polled {
            Ok(Some(ClientEvent::Disconnected)) => {
                self.close();
                self.dialer.finish().await;
            }
            Ok(_) => {}
            Err(_) => self.is_dialled = false,
        }
        polled
    }

    /// Closes the connection.
    pub(super) fn close(&mut self) {
        self.is_dialled = false;
        self.protocol.close();
    }

    /// Whether repeating a subscription has no effect.
    pub(super) fn can_subscribe_again(&self) -> bool {
        // With 3.1.1 the broker would send all retained messages again.
        matches!(self.protocol, Protocol::V5(..))
    }

    /// Requests a subscription.
    pub(super) fn subscribe(&self, topic: &str, qos: u8) -> Result<(), String> {
        self.protocol.subscribe(topic, qos)
    }

    /// A handle that acknowledges packets.
    pub(super) fn acknowledger(&self) -> Acknowledger {
        match &self.protocol {
            Protocol::V311(client, _) => Acknowledger::V311(client.clone()),
            Protocol::V5(client, _) => Acknowledger::V5(client.clone()),
        }
    }
}

impl Protocol {
    async fn poll(&mut self) -> Result<Option<ClientEvent>, String> {
        match self {
            Self::V311(_, events) => events.poll().await.map(event_v311).map_err(|error| {
                // What was read before the connection broke is redelivered on the next one.
                events.state.events.clear();
                describe_v311(&error)
            }),
            Self::V5(_, events) => events.poll().await.map(event_v5).map_err(|error| {
                events.state.events.clear();
                describe_v5(&error)
            }),
        }
    }

    fn close(&mut self) {
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

    fn subscribe(&self, topic: &str, qos: u8) -> Result<(), String> {
        let is_queued = match self {
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
        if is_queued { Ok(()) } else { Err(format!("{topic:?} cannot be subscribed to")) }
    }
}

/// Acknowledges messages. What it sends goes out with the next polls.
pub(super) enum Acknowledger {
    V311(rumqttc::AsyncClient),
    V5(v5::AsyncClient),
}

impl Acknowledger {
    /// Acknowledges a packet of this connection.
    pub(super) fn acknowledge(&self, packet_id: u16) {
        let is_queued = match self {
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
        if !is_queued {
            tracing::warn!(
                packet_id,
                "the queue of acknowledgements is full; the message will be redelivered"
            );
        }
    }

    /// Disconnects.
    pub(super) fn disconnect(&self) {
        // If the queue is full, the connection is closed without it.
        let _ = match self {
            Self::V311(client) => client.try_disconnect().is_ok(),
            Self::V5(client) => client.try_disconnect().is_ok(),
        };
    }
}

fn outgoing(packet: &Outgoing) -> Option<ClientEvent> {
    match packet {
        Outgoing::PubAck(packet_id) => Some(ClientEvent::Acknowledged(*packet_id)),
        Outgoing::PingReq => Some(ClientEvent::Pinged),
        Outgoing::Disconnect => Some(ClientEvent::Disconnected),
        _ => None,
    }
}

fn event_v311(event: rumqttc::Event) -> Option<ClientEvent> {
    let packet = match event {
        rumqttc::Event::Incoming(packet) => packet,
        rumqttc::Event::Outgoing(packet) => return outgoing(&packet),
    };
    match packet {
        Packet::ConnAck(answer) => Some(ClientEvent::Connected { session_present: answer.session_present }),
        Packet::SubAck(answer) => Some(ClientEvent::Subscribed(match answer.return_codes.first() {
            Some(Granted::Success(qos)) => Ok(*qos as u8),
            _ => Err("the broker refuses the subscription".into()),
        })),
        Packet::Publish(packet) => Some(ClientEvent::Message(Message {
            packet_id: packet.pkid,
            duplicate: packet.dup,
            qos: packet.qos as u8,
            retained: packet.retain,
            topic: packet.topic,
            payload: packet.payload,
            properties: Vec::new(),
        })),
        Packet::PingResp => Some(ClientEvent::Ponged),
        _ => None,
    }
}

fn event_v5(event: v5::Event) -> Option<ClientEvent> {
    let packet = match event {
        v5::Event::Incoming(packet) => packet,
        v5::Event::Outgoing(packet) => return outgoing(&packet),
    };
    match packet {
        Packet5::ConnAck(answer) => Some(ClientEvent::Connected { session_present: answer.session_present }),
        Packet5::SubAck(answer) => Some(ClientEvent::Subscribed(match answer.return_codes.first() {
            Some(SubscribeReasonCode::Success(qos)) => Ok(*qos as u8),
            Some(SubscribeReasonCode::NotAuthorized) => {
                Err("the broker refuses the subscription: not authorized".into())
            }
            Some(code) => Err(format!("the broker refuses the subscription: {code:?}")),
            None => Err("the broker refuses the subscription".into()),
        })),
        Packet5::Publish(packet) => Some(ClientEvent::Message(Message {
            packet_id: packet.pkid,
            duplicate: packet.dup,
            qos: packet.qos as u8,
            retained: packet.retain,
            topic: String::from_utf8_lossy(&packet.topic).into_owned(),
            payload: packet.payload,
            properties: packet.properties.map(|properties| properties.user_properties).unwrap_or_default(),
        })),
        Packet5::PingResp(_) => Some(ClientEvent::Ponged),
        _ => None,
    }
}

fn describe_v311(error: &rumqttc::ConnectionError) -> String {
    use rumqttc::{ConnectionError, StateError};
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            ConnectReturnCode::NotAuthorized => refused("not authorized"),
            ConnectReturnCode::BadUserNamePassword => refused("bad user name or password"),
            ConnectReturnCode::RefusedProtocolVersion => refused("it does not support MQTT 3.1.1"),
            code => refused(&format!("{code:?}")),
        },
        ConnectionError::NetworkTimeout | ConnectionError::FlushTimeout => timed_out(),
        ConnectionError::Io(error) => unreachable_because(error),
        ConnectionError::Tls(error) => format!("TLS with the broker failed: {error}"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => closed(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => no_pong(),
        ConnectionError::MqttState(StateError::Deserialization(PacketError::PayloadSizeLimitExceeded(
            bytes,
        ))) => too_large(*bytes),
        other => format!("the connection to the broker failed: {other}"),
    }
}

fn describe_v5(error: &v5::ConnectionError) -> String {
    use v5::{ConnectionError, StateError};
    match error {
        ConnectionError::ConnectionRefused(code) => match code {
            Code5::NotAuthorized => refused("not authorized"),
            Code5::BadUserNamePassword => refused("bad user name or password"),
            Code5::UnsupportedProtocolVersion | Code5::RefusedProtocolVersion => {
                refused("it does not support MQTT 5; set \"version\":\"3.1.1\"")
            }
            code => refused(&format!("{code:?}")),
        },
        ConnectionError::Timeout(_) => timed_out(),
        ConnectionError::Io(error) => unreachable_because(error),
        ConnectionError::Tls(error) => format!("TLS with the broker failed: {error}"),
        ConnectionError::MqttState(StateError::ConnectionAborted) => closed(),
        ConnectionError::MqttState(StateError::AwaitPingResp) => no_pong(),
        ConnectionError::MqttState(StateError::ServerDisconnect { reason_code, .. }) => {
            format!("the broker ended the connection: {reason_code:?}")
        }
        other => format!("the connection to the broker failed: {other}"),
    }
}

fn refused(why: &str) -> String {
    format!("the broker refuses the connection: {why}")
}

fn unreachable_because(error: &std::io::Error) -> String {
    format!("cannot reach the broker: {error}")
}

fn timed_out() -> String {
    "the broker does not answer".into()
}

/// It is redelivered until somebody removes it from the broker.
fn too_large(bytes: usize) -> String {
    format!(
        "the broker sends a message of {bytes} bytes; at most {LARGEST_PACKET} are accepted, and no other message \
         arrives until it is removed from the broker"
    )
}

fn closed() -> String {
    "the broker closed the connection".into()
}

fn no_pong() -> String {
    "the broker does not answer pings".into()
}
