//! Invokes functions through the scheduler, and classifies failures.

use std::time::Duration;

use mesh::deadline::Deadline;
use mesh::{Channel, Error, MAX_MESSAGE_BYTES, Reason};
use proto::scheduler::v1::InvokeRequest;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::invoke_response::Outcome;

/// The maximum length of a failure's message, in bytes.
const MAX_REASON_BYTES: usize = 4096;

/// A client of the scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Invoker {
    scheduler: InvocationsClient<Channel>,
    timeout: Duration,
}

/// Why an invocation has not succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The platform cannot run functions now: nothing has started.
    Unavailable {
        /// What is missing.
        message: String,
        /// When to retry, if the platform says so.
        retry_after: Option<Duration>,
    },
    /// A transient fault, which the event may have caused, such as a worker that was lost.
    Transient {
        /// Its reason in the mesh.
        reason: Reason,
        /// What went wrong.
        message: String,
        /// When to retry, if the platform says so.
        retry_after: Option<Duration>,
    },
    /// The function has run, and its sinks cannot accept the result now.
    ResultNotTaken {
        /// What went wrong.
        message: String,
        /// When to retry, if the sinks say so.
        retry_after: Option<Duration>,
    },
    /// Another attempt would fail in the same way.
    Permanent(String),
}

impl Invoker {
    /// Invocations of at most `timeout` each.
    pub(crate) fn new(scheduler: Channel, timeout: Duration) -> Self {
        let scheduler = InvocationsClient::new(scheduler)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { scheduler, timeout }
    }

    /// Makes one attempt. Success means that the function has run and its sinks have the result.
    pub(crate) async fn invoke(
        &self,
        request: InvokeRequest,
        deadline: Option<Deadline>,
    ) -> Result<(), Failure> {
        let own = Deadline::after(self.timeout);
        let deadline = deadline.map_or(own, |deadline| deadline.min(own));
        match self.scheduler.clone().invoke(deadline.attach(request)).await {
            Ok(response) => match response.into_inner().outcome {
                Some(Outcome::FunctionError(message)) => {
                    Err(Failure::Permanent(cut(format!("the function failed: {message}"))))
                }
                Some(Outcome::Result(_)) | None => Ok(()),
            },
            Err(status) => Err(classify(status.into())),
        }
    }
}

fn classify(error: Error) -> Failure {
    let message = cut(error.message);
    match error.reason {
        // Nothing has started: there is no scheduler or worker, all are busy, or the function is not known yet.
        Reason::Unavailable | Reason::RevisionNotReached | Reason::NoWorker | Reason::Overloaded => {
            Failure::Unavailable { message, retry_after: error.retry_after }
        }
        Reason::ResultNotTaken => Failure::ResultNotTaken { message, retry_after: error.retry_after },
        Reason::BadRequest
        | Reason::InvalidField
        | Reason::TooLarge
        | Reason::FunctionNotFound
        | Reason::GuestTrapped
        | Reason::GuestExited
        | Reason::GuestBadResponse
        | Reason::GuestMemoryLimit
        | Reason::GuestOutputLimit
        | Reason::GuestStackLimit
        | Reason::CodeUnusable
        | Reason::ScriptUnusable => Failure::Permanent(message),
        reason => Failure::Transient { reason, message, retry_after: error.retry_after },
    }
}

fn cut(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(MAX_REASON_BYTES));
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_classified() {
        let of = |reason| classify(Error::new(reason, "words"));
        for reason in [Reason::Unavailable, Reason::RevisionNotReached, Reason::NoWorker, Reason::Overloaded]
        {
            let expected = Failure::Unavailable { message: "words".into(), retry_after: None };
            assert_eq!(of(reason), expected, "{reason:?}");
        }
        for reason in [Reason::GuestTrapped, Reason::CodeUnusable, Reason::TooLarge, Reason::FunctionNotFound]
        {
            assert_eq!(of(reason), Failure::Permanent("words".into()), "{reason:?}");
        }
        for reason in [
            Reason::WorkerLost,
            Reason::ConnectionLost,
            Reason::DeadlineExceeded,
            Reason::Internal,
            Reason::PermissionDenied,
        ] {
            assert!(matches!(of(reason), Failure::Transient { .. }), "{reason:?}");
        }
        let retry_after = Some(Duration::from_secs(3));
        let not_taken = Error { retry_after, ..Error::new(Reason::ResultNotTaken, "full") };
        let expected = Failure::ResultNotTaken { message: "full".into(), retry_after };
        assert_eq!(classify(not_taken), expected);
        let overloaded = classify(Error::overloaded("full", Duration::from_secs(3)));
        assert_eq!(overloaded, Failure::Unavailable { message: "full".into(), retry_after });
    }
}
