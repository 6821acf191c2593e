//! The role of a binding, and the service that runs it.

use mesh::{Error, Reason};
use serde::{Deserialize, Serialize};
use tonic::Status;
use utoipa::ToSchema;

use super::error::ApiError;

/// Triggers the function, or receives its results.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum Role {
    Event,
    Sink,
}

impl Role {
    pub(super) const ALL: [Self; 2] = [Self::Event, Self::Sink];

    /// The name of this role's service, for users.
    pub(super) fn service(self) -> &'static str {
        match self {
            Self::Event => "connector",
            Self::Sink => "sink service",
        }
    }

    /// The part of an upload that lists bindings of this role.
    pub(super) fn part(self) -> &'static str {
        match self {
            Self::Event => "events",
            Self::Sink => "sinks",
        }
    }

    /// Converts the error of a call to this role's service. If the service did not answer, the error names
    /// it.
    pub(super) fn failed(self, status: Status) -> ApiError {
        let error = Error::from(status);
        let service = self.service();
        let message = match error.reason {
            Reason::Unavailable => format!("the {service} does not answer"),
            Reason::ConnectionLost => {
                format!("the connection to the {service} was lost while the request may have been in work")
            }
            Reason::DeadlineExceeded => format!("the {service} did not answer in time"),
            _ => return error.into(),
        };
        tracing::warn!(service, reason = ?error.reason, %error, "a call failed");
        ApiError::with_message_of(Error::new(error.reason, message))
    }
}
