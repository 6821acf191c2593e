//! The services behind the gateway.

use mesh::channel::{Channel, Dialer};
use mesh::contact::REGISTRY_UNREACHABLE;
use mesh::{Error, MAX_MESSAGE_BYTES, Reason};
use proto::connector::v1::dead_letters_client::DeadLettersClient as EventDeadLettersClient;
use proto::connector::v1::events_client::EventsClient;
use proto::registry::v1::authentication_client::AuthenticationClient;
use proto::registry::v1::functions_client::FunctionsClient;
use proto::registry::v1::modules_client::ModulesClient;
use proto::registry::v1::scripts_client::ScriptsClient;
use proto::registry::v1::subjects_client::SubjectsClient;
use proto::scheduler::v1::cluster_client::ClusterClient;
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
    /// Makes the channels of `config`, except the one to the registry. They connect on first use.
    pub fn dial(config: &Config, dialer: &Dialer, registry: Channel) -> Result<Self, Error> {
        Ok(Self {
            registry,
            scheduler: dialer.dial(&config.scheduler)?,
            connector: dialer.dial(&config.connector)?,
            sink: dialer.dial(&config.sink)?,
        })
    }
}

/// Removes details such as addresses of services from an error that is returned to a client. They are logged.
pub(crate) fn for_clients(error: Error) -> Error {
    let message = match error.reason {
        Reason::Unavailable if error.message == REGISTRY_UNREACHABLE => return error,
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

/// Defines methods that return gRPC clients. A client is made for each call, at the cost of cloning a
/// channel.
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
    /// The registry's modules.
    modules: ModulesClient to registry;
    /// The registry's functions.
    functions: FunctionsClient to registry;
    /// The registry's scripts.
    scripts: ScriptsClient to registry;
    /// The registry's subjects.
    subjects: SubjectsClient to registry;
    /// Verifies tokens.
    authentication: AuthenticationClient to registry;
    /// The scheduler's view of the workers.
    cluster: ClusterClient to scheduler;
    /// Checks, explains and simulates policies.
    policies: PoliciesClient to scheduler;
    /// The logs of functions.
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
