//! Delivers results to the sinks of their functions.

use std::time::Duration;

use bytes::Bytes;
use mesh::auth::owner_of_function;
use mesh::backoff::Backoff;
use mesh::deadline::Deadline;
use mesh::{Channel, Error, MAX_MESSAGE_BYTES, Reason};
use proto::registry::v1::Function;
use proto::sink::v1::DeliverRequest;
use proto::sink::v1::delivery_client::DeliveryClient;

use crate::error::SchedulingError;

/// How long to wait for a sink service that is away. A restart is shorter, and the function has already run.
const MAX_WAIT: Duration = Duration::from_secs(10);

/// Delivers results to the sink service.
#[derive(Debug, Clone)]
pub struct Delivery {
    sink: Channel,
}

impl Delivery {
    /// Delivers to the service behind `sink`.
    pub fn new(sink: Channel) -> Self {
        Self { sink }
    }

    /// Returns when the result is stored durably for each sink of the function. Delivery is idempotent, so it
    /// is retried until there is an answer.
    pub async fn deliver(
        &self,
        function: &Function,
        invocation_id: &str,
        result: &Bytes,
        deadline: Deadline,
    ) -> Result<(), Error> {
        if function.sinks.is_empty() {
            return Ok(());
        }
        let request = DeliverRequest {
            invocation_id: invocation_id.to_owned(),
            function_id: function.id.clone(),
            result: result.clone(),
            module: function.module.clone(),
            function: function.name.clone(),
            owner: owner_of_function(&function.owner, &function.creator).to_owned(),
            sinks: function.sinks.iter().map(|sink| sink.id.clone()).collect(),
        };
        let deadline = deadline.min(Deadline::after(MAX_WAIT));
        let mut backoff = Backoff::reconnect();
        loop {
            let mut client =
                DeliveryClient::new(self.sink.clone()).max_encoding_message_size(MAX_MESSAGE_BYTES);
            let Err(status) = client.deliver(deadline.attach(request.clone())).await else {
                return Ok(());
            };
            let failure = Error::from(status);
            let wait = backoff.next_wait();
            match failure.reason {
                Reason::Unavailable | Reason::ConnectionLost if deadline.remaining() > wait => {
                    tracing::debug!(%failure, "delivering the result again");
                    tokio::time::sleep(wait).await;
                }
                Reason::Unavailable
                | Reason::ConnectionLost
                | Reason::Overloaded
                | Reason::DeadlineExceeded => return Err(SchedulingError::ResultNotTaken(failure).into()),
                // Retries would fail, too.
                _ => return Err(failure),
            }
        }
    }
}
