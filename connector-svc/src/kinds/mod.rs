//! The kinds of event sources. Each kind is one file here, or a folder, and one arm of the `match`.

mod address;
mod connection_status;
mod cron;
mod mqtt;
mod nats;
mod shutdown;

pub use self::mqtt::fuzzing::{MqttInvocation, MqttMessage, read_mqtt};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mesh::bindings::HeldBinding;
use mesh::egress::Outbound;
use proto::registry::v1::Binding;

use crate::handling::Handling;
use crate::intake::Intake;
use crate::journal::Entry;
use crate::trace::Origin;

/// The `type` of every kind.
pub(crate) const KINDS: [&str; 3] = ["cron", "mqtt", "nats"];

/// The kinds that connect to a broker.
pub(crate) const BROKERS: [&str; 2] = ["mqtt", "nats"];

/// The source of a binding.
pub(crate) struct Source {
    /// Its `type`.
    pub(crate) kind: &'static str,
    /// How its events are handled.
    pub(crate) handling: Handling,
    /// How traces describe it.
    pub(crate) origin: Origin,
    run: Box<Run>,
}

type Run = dyn FnOnce(Outbound, Intake, Vec<Entry>, HeldBinding) -> BoxFuture<'static, ()> + Send;

/// Reads a binding. An error says what was expected.
pub(crate) fn read(binding: &Binding) -> Result<Source, String> {
    match binding.r#type.as_str() {
        "cron" => {
            let run = |params, _, intake, entries, held| cron::run(params, intake, entries, held);
            source("cron", cron::Params::parse(&binding.params), cron::Params::origin, run)
        }
        "mqtt" => source("mqtt", mqtt::Params::parse(&binding.params), mqtt::Params::origin, mqtt::run),
        "nats" => source("nats", nats::Params::parse(&binding.params), nats::Params::origin, nats::run),
        other => {
            let kinds = KINDS.join(", ");
            Err(format!("not_implemented: there are no events of type {other:?}; expected one of: {kinds}"))
        }
    }
}

fn source<P, F>(
    kind: &'static str,
    params: Result<(P, Handling), String>,
    origin: impl FnOnce(&P) -> Origin,
    run: impl FnOnce(P, Outbound, Intake, Vec<Entry>, HeldBinding) -> F + Send + 'static,
) -> Result<Source, String>
where
    P: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (params, handling) = params?;
    let origin = origin(&params);
    let run = move |outbound, intake, entries, held| run(params, outbound, intake, entries, held).boxed();
    Ok(Source { kind, handling, origin, run: Box::new(run) })
}

impl Source {
    /// Hands the source's events to `intake` until the lease ends. Keeps reconnecting through `outbound`, and reports
    /// the state of the connection. `entries` are the events of former holders in the journal.
    pub(crate) async fn run(
        self,
        outbound: Outbound,
        intake: Intake,
        entries: Vec<Entry>,
        held: HeldBinding,
    ) {
        (self.run)(outbound, intake, entries, held).await;
    }
}
