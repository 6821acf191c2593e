//! Handing results over to the sinks of their functions.

use std::time::Duration;

use bytes::Bytes;
use mesh::backoff::Backoff;
use mesh::deadline::Deadline;
use mesh::{Channel, Error, MAX_MESSAGE_BYTES, Reason};
use proto::registry::v1::Function;
use proto::sink::v1::DeliverRequest;
use proto::sink::v1::delivery_client::DeliveryClient;

use crate::error::SchedulingError;

/// How long a sink service that is away is waited for. One that is started again is back sooner, and a
/// function that has run shall not have run in vain.
const PATIENCE: Duration = Duration::from_secs(10);

/// The way to the sink service.
#[derive(Debug, Clone)]
pub struct Delivery {
    sink: Channel,
}

impl Delivery {
    /// Hands over to the service behind `sink`.
    pub fn new(sink: Channel) -> Self {
        Self { sink }
    }

    /// Ends when the result is kept durably for each sink of the function. To hand over the same
    /// invocation again changes nothing, so it is done until there is an answer.
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
            owner: function.owner.clone(),
            sinks: function.sinks.iter().map(|sink| sink.id.clone()).collect(),
        };
        let deadline = deadline.min(Deadline::after(PATIENCE));
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
                    tracing::debug!(%failure, "handing the result over again");
                    tokio::time::sleep(wait).await;
                }
                Reason::Unavailable
                | Reason::ConnectionLost
                | Reason::Overloaded
                | Reason::DeadlineExceeded => return Err(SchedulingError::ResultNotTaken(failure).into()),
                // This result will never be taken.
                _ => return Err(failure),
            }
        }
    }
}
