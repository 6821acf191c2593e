//! Health checks of the services that the gateway depends on.

use std::time::Duration;

use mesh::backoff::Backoff;
use mesh::channel::Channel;
use mesh::contact::RegistryContact;
use mesh::deadline::Deadline;
use mesh::health::Condition;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

const INTERVAL: Duration = Duration::from_secs(2);
/// The interval while a service is not ready, so that the gateway becomes ready soon after it.
const INTERVAL_WHILE_AWAY: Duration = Duration::from_millis(200);
/// The interval and the timeout of checks of the registry: until it is known to be away, calls to it can hang.
const REGISTRY_INTERVAL: Duration = Duration::from_secs(1);

/// Keeps `condition` true while the service behind `channel` reports that it is serving. Never returns.
pub(crate) async fn watch(channel: Channel, condition: Condition) {
    let mut client = HealthClient::new(channel);
    loop {
        let serves = serves(&mut client, INTERVAL).await;
        condition.set(serves);
        tokio::time::sleep(if serves { INTERVAL } else { INTERVAL_WHILE_AWAY }).await;
    }
}

/// Keeps `contact` up to date. `condition` becomes true once the registry is serving, and false when an outage outlasts
/// `grace`. Never returns.
pub(crate) async fn watch_registry(
    channel: Channel,
    contact: RegistryContact,
    condition: Condition,
    grace: Duration,
) {
    let (mut client, mut backoff) = (HealthClient::new(channel), Backoff::reconnect());
    loop {
        let serves = serves(&mut client, REGISTRY_INTERVAL).await;
        contact.set(serves);
        match contact.lost_since() {
            None => {
                condition.set(true);
                backoff.reset();
                contact.lost_within(REGISTRY_INTERVAL).await;
            }
            Some(since) => {
                if since.elapsed() > grace {
                    condition.set(false);
                }
                tokio::time::sleep(backoff.next_wait()).await;
            }
        }
    }
}

async fn serves(client: &mut HealthClient<Channel>, timeout: Duration) -> bool {
    let request = Deadline::after(timeout).attach(HealthCheckRequest::default());
    match client.check(request).await {
        Ok(response) => response.into_inner().status() == ServingStatus::Serving,
        Err(_) => false,
    }
}
