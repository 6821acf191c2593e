//! The connector's gRPC services: decode, call, encode.

mod dead_letters;
mod events;

pub(crate) use self::dead_letters::DeadLettersHandler;
pub(crate) use self::events::EventsHandler;
