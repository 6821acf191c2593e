//! Health checks of the services that the gateway depends on.

use std::time::Duration;

use mesh::channel::Channel;
use mesh::deadline::Deadline;
use mesh::health::Condition;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const INTERVAL: Duration = Duration::from_secs(2);
/// The interval while a service is not ready, so that the gateway becomes ready soon after it.
const INTERVAL_WHILE_AWAY: Duration = Duration::from_millis(200);

/// Keeps `condition` true while the service behind `channel` reports that it is serving. Never returns.
pub(crate) async fn watch(channel: Channel, condition: Condition) {
    let mut client = HealthClient::new(channel);
    loop {
        let request = Deadline::after(INTERVAL).attach(HealthCheckRequest::default());
        let serves = match client.check(request).await {
            Ok(response) => response.into_inner().status() == ServingStatus::Serving,
            Err(_) => false,
        };
        condition.set(serves);
        tokio::time::sleep(if serves { INTERVAL } else { INTERVAL_WHILE_AWAY }).await;
    }
}
