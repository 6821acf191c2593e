//! The kinds of event sources. A kind is one file here, or a folder, and one arm of the `match`.

mod address;
mod cron;
mod link;
mod mqtt;
mod nats;

use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use mesh::bindings::Tenure;
use proto::registry::v1::Binding;
use tokio::task::JoinError;

use crate::handling::Handling;
use crate::intake::Intake;
use crate::journal::Entry;
use crate::trace::Origin;

/// The `type` of every kind.
pub(crate) const KINDS: [&str; 3] = ["cron", "mqtt", "nats"];

/// How long the events that are worked on have to end when a binding stops. Those that have not are left
/// to their source, which sends them again.
const LAST_ORDERS: Duration = Duration::from_secs(10);
/// How long taking leave of a source may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// What a task gave. What panics is started anew, together with its binding and with all that the journal
/// knows; the binding's owner logs that.
fn unless_panicked<T>(outcome: Result<T, JoinError>) -> T {
    outcome.unwrap_or_else(|panic| std::panic::resume_unwind(panic.into_panic()))
}

/// A source as a binding describes it.
pub(crate) struct Source {
    /// How its events are handled.
    pub(crate) handling: Handling,
    /// What traces say of it.
    pub(crate) origin: Origin,
    run: Box<dyn FnOnce(Intake, Vec<Entry>, Tenure) -> BoxFuture<'static, ()> + Send>,
}

/// Reads what a binding says. An error says what was expected.
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
    run: impl FnOnce(P, Intake, Vec<Entry>, Tenure) -> F + Send + 'static,
) -> Result<Source, String>
where
    P: Send + 'static,
    F: Future<Output = ()> + Send + 'static,
{
    let (params, handling) = params?;
    let origin = origin(&params);
    let run = move |intake, before, tenure| run(params, intake, before, tenure).boxed();
    Ok(Source { handling, origin, run: Box::new(run) })
}

impl Source {
    /// Hands the source's events to `intake` until the tenure has ended. Connects for ever, and tells on
    /// the tenure's report how it does. `before` is what the journal has of former tenures.
    pub(crate) async fn run(self, intake: Intake, before: Vec<Entry>, tenure: Tenure) {
        (self.run)(intake, before, tenure).await;
    }
}
