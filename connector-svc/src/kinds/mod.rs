//! The kinds of event sources. Each kind is one file here, or a folder, and one arm of the `match`.

mod address;
mod connection_status;
mod cron;
mod mqtt;
mod nats;
mod shutdown;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mesh::bindings::HeldBinding;
use proto::registry::v1::Binding;

use crate::handling::Handling;
use crate::intake::Intake;
use crate::journal::Entry;
use crate::trace::Origin;

/// The `type` of every kind.
pub(crate) const KINDS: [&str; 3] = ["cron", "mqtt", "nats"];

/// The source of a binding.
pub(crate) struct Source {
    /// How its events are handled.
    pub(crate) handling: Handling,
    /// How traces describe it.
    pub(crate) origin: Origin,
    run: Box<dyn FnOnce(Intake, Vec<Entry>, HeldBinding) -> BoxFuture<'static, ()> + Send>,
}

/// Reads a binding. An error says what was expected.
pub(crate) fn read(binding: &Binding) -> Result<Source, String> {
    match binding.r#type.as_str() {
        "cron" => source(cron::Params::parse(&binding.params), cron::Params::origin, cron::run),
        "mqtt" => source(mqtt::Params::parse(&binding.params), mqtt::Params::origin, mqtt::run),
        "nats" => source(nats::Params::parse(&binding.params), nats::Params::origin, nats::run),
        other => {
            let kinds = KINDS.join(", ");
            Err(format!("not_implemented: there are no events of type {other:?}; expected one of: {kinds}"))
        }
    }
}

fn source<P, F>(
    params: Result<(P, Handling), String>,
    origin: impl FnOnce(&P) -> Origin,
    run: impl FnOnce(P, Intake, Vec<Entry>, HeldBinding) -> F + Send + 'static,
) -> Result<Source, String>
where
    P: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (params, handling) = params?;
    let origin = origin(&params);
    let run = move |intake, entries, held| run(params, intake, entries, held).boxed();
    Ok(Source { handling, origin, run: Box::new(run) })
}

impl Source {
    /// Hands the source's events to `intake` until the lease ends. Keeps reconnecting, and reports the state
    /// of the connection. `entries` are the events of former holders in the journal.
    pub(crate) async fn run(self, intake: Intake, entries: Vec<Entry>, held: HeldBinding) {
        (self.run)(intake, entries, held).await;
    }
}
