//! The services behind the gateway.

use mesh::channel::{Channel, Dialer};
use mesh::{Error, MAX_MESSAGE_BYTES, Reason};
use proto::connector::v1::dead_letters_client::DeadLettersClient as EventDeadLettersClient;
use proto::connector::v1::events_client::EventsClient;
use proto::registry::v1::authentication_client::AuthenticationClient;
use proto::registry::v1::functions_client::FunctionsClient;
use proto::registry::v1::modules_client::ModulesClient;
use proto::registry::v1::scripts_client::ScriptsClient;
use proto::registry::v1::subjects_client::SubjectsClient;
use proto::scheduler::v1::cluster_client::ClusterClient;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::logs_client::LogsClient;
use proto::scheduler::v1::policies_client::PoliciesClient;
use proto::sink::v1::dead_letters_client::DeadLettersClient as SinkDeadLettersClient;
use proto::sink::v1::sinks_client::SinksClient;

use crate::Config;

/// A channel to each service.
#[derive(Debug, Clone)]
pub struct Channels {
    /// To the registry.
    pub registry: Channel,
    /// To the scheduler.
    pub scheduler: Channel,
    /// To the connector.
    pub connector: Channel,
    /// To the sink service.
    pub sink: Channel,
}

impl Channels {
    /// Channels as `config` says. Nothing is connected yet.
    pub fn dial(config: &Config, dialer: &Dialer) -> Result<Self, Error> {
        Ok(Self {
            registry: dialer.dial(&config.registry)?,
            scheduler: dialer.dial(&config.scheduler)?,
            connector: dialer.dial(&config.connector)?,
            sink: dialer.dial(&config.sink)?,
        })
    }
}

/// A failed call as a client may know it: without what tells where the services are. That goes to
/// the log.
pub(crate) fn for_clients(error: Error) -> Error {
    let message = match error.reason {
        Reason::Unavailable => "a part of the platform cannot be reached",
        Reason::ConnectionLost => "a connection was lost while the request may have been in work",
        Reason::ResultNotTaken => {
            "the function ran, but its sinks did not take the result, which is lost; another request runs it again"
        }
        _ => return error,
    };
    tracing::warn!(reason = ?error.reason, %error, "a call failed");
    Error { message: message.to_owned(), ..error }
}

/// Makes clients; one is made for a call and costs a clone of a channel.
macro_rules! clients {
    ($($(#[$doc:meta])* $name:ident: $client:ident to $channel:ident;)*) => {
        impl Channels {
            $(
                $(#[$doc])*
                pub fn $name(&self) -> $client<Channel> {
                    $client::new(self.$channel.clone())
                        .max_decoding_message_size(MAX_MESSAGE_BYTES)
                        .max_encoding_message_size(MAX_MESSAGE_BYTES)
                }
            )*
        }
    };
}

clients! {
    /// Modules of the registry.
    modules: ModulesClient to registry;
    /// Functions of the registry.
    functions: FunctionsClient to registry;
    /// Scripts of the registry.
    scripts: ScriptsClient to registry;
    /// Subjects of the registry.
    subjects: SubjectsClient to registry;
    /// Whose token it is.
    authentication: AuthenticationClient to registry;
    /// Runs functions.
    invocations: InvocationsClient to scheduler;
    /// The scheduler's view of the workers.
    cluster: ClusterClient to scheduler;
    /// What policies mean.
    policies: PoliciesClient to scheduler;
    /// What functions have logged.
    logs: LogsClient to scheduler;
    /// Event sources.
    events: EventsClient to connector;
    /// Events that could not be handled.
    event_dead_letters: EventDeadLettersClient to connector;
    /// Sinks.
    sinks: SinksClient to sink;
    /// Results that could not be delivered.
    sink_dead_letters: SinkDeadLettersClient to sink;
}
