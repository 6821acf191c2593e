//! Asking the scheduler to run a function, and telling failures apart.

use std::time::Duration;

use mesh::deadline::Deadline;
use mesh::{Channel, Error, MAX_MESSAGE_BYTES, Reason};
use proto::scheduler::v1::InvokeRequest;
use proto::scheduler::v1::invocations_client::InvocationsClient;
use proto::scheduler::v1::invoke_response::Outcome;

/// How much of a failure's words is kept, in bytes.
const MAX_REASON_BYTES: usize = 4096;

/// The way to the scheduler.
#[derive(Debug, Clone)]
pub(crate) struct Invoker {
    scheduler: InvocationsClient<Channel>,
    timeout: Duration,
}

/// An invocation that has not succeeded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The mesh is not there: nothing has been tried.
    NotTried(String),
    /// A fault of the platform, which passes.
    Passing {
        /// Its reason in the mesh.
        reason: Reason,
        /// In words.
        words: String,
        /// When to come back, if the platform says so.
        retry_after: Option<Duration>,
    },
    /// The function has run, and its sinks cannot take the result now.
    ResultNotTaken {
        /// In words.
        words: String,
        /// When to come back, if the sinks say so.
        retry_after: Option<Duration>,
    },
    /// Another attempt would fail in the same way.
    Final(String),
}

impl Invoker {
    /// Invocations of at most `timeout` each.
    pub(crate) fn new(scheduler: Channel, timeout: Duration) -> Self {
        let scheduler = InvocationsClient::new(scheduler)
            .max_decoding_message_size(MAX_MESSAGE_BYTES)
            .max_encoding_message_size(MAX_MESSAGE_BYTES);
        Self { scheduler, timeout }
    }

    /// Invokes once. Success means that the function has run and that its sinks have its result.
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
                    Err(Failure::Final(cut(format!("the function failed: {message}"))))
                }
                Some(Outcome::Result(_)) | None => Ok(()),
            },
            Err(status) => Err(classify(status.into())),
        }
    }
}

fn classify(error: Error) -> Failure {
    let words = cut(error.message);
    match error.reason {
        // Nothing has started: the scheduler is not there, stops, or knows nothing yet.
        Reason::Unavailable => Failure::NotTried(words),
        Reason::ResultNotTaken => Failure::ResultNotTaken { words, retry_after: error.retry_after },
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
        | Reason::ScriptUnusable => Failure::Final(words),
        reason => Failure::Passing { reason, words, retry_after: error.retry_after },
    }
}

fn cut(mut words: String) -> String {
    words.truncate(words.floor_char_boundary(MAX_REASON_BYTES));
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_are_told_apart() {
        let of = |reason| classify(Error::new(reason, "words"));
        assert_eq!(of(Reason::Unavailable), Failure::NotTried("words".into()));
        for reason in [Reason::GuestTrapped, Reason::CodeUnusable, Reason::TooLarge, Reason::FunctionNotFound]
        {
            assert_eq!(of(reason), Failure::Final("words".into()), "{reason:?}");
        }
        for reason in [
            Reason::NoWorker,
            Reason::WorkerLost,
            Reason::Overloaded,
            Reason::ConnectionLost,
            Reason::DeadlineExceeded,
            Reason::Internal,
            Reason::PermissionDenied,
        ] {
            assert!(matches!(of(reason), Failure::Passing { .. }), "{reason:?}");
        }
        let retry_after = Some(Duration::from_secs(3));
        let not_taken = Error { retry_after, ..Error::new(Reason::ResultNotTaken, "full") };
        let expected = Failure::ResultNotTaken { words: "full".into(), retry_after };
        assert_eq!(classify(not_taken), expected);
        let overloaded = classify(Error::overloaded("full", Duration::from_secs(3)));
        let expected = Failure::Passing { reason: Reason::Overloaded, words: "full".into(), retry_after };
        assert_eq!(overloaded, expected);
    }
}
