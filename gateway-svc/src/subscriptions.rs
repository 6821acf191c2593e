//! Subscriptions: responses that go on until the client cancels, its token is revoked, or this gateway drains.

use std::sync::Arc;
use std::time::Duration;

use http::HeaderMap;
use mesh::keyed_limit::{KeyedLimit, KeyedPermit};
use mesh::metrics::show_permits;
use mesh::{Caller, Error, Host};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use crate::auth::Authenticator;

/// The maximum number of subscriptions. They are long-lived and have permits of their own, so that they do not use up
/// those of requests.
const MAX_SUBSCRIPTIONS: usize = 256;
/// The maximum number of subscriptions of one user, so that nobody keeps others from subscribing.
const MAX_OF_USER: usize = 32;
/// How long a client should wait before it retries a subscription that was refused.
const RETRY_AFTER: Duration = Duration::from_secs(5);
/// How often the token of a subscription is verified again: a revoked one ends the subscription within 5 s.
const REAUTHENTICATE: Duration = Duration::from_secs(1);

/// Admits and ends subscriptions, through either port. Clones share the limits.
#[derive(Debug, Clone)]
pub(crate) struct Subscriptions {
    permits: Arc<Semaphore>,
    of_users: KeyedLimit<Caller>,
    authenticator: Authenticator,
    draining: CancellationToken,
}

impl Subscriptions {
    /// Subscriptions of users that `authenticator` knows.
    pub(crate) fn new(host: &Host, authenticator: Authenticator) -> Self {
        let permits = Arc::new(Semaphore::new(MAX_SUBSCRIPTIONS));
        show_permits(&host.metrics, "subscriptions", MAX_SUBSCRIPTIONS, &permits);
        Self {
            permits,
            of_users: KeyedLimit::new(MAX_OF_USER),
            authenticator,
            draining: host.draining.clone(),
        }
    }

    /// Begins a subscription of `caller`, whose token is in `headers`. The future completes with the reason why the
    /// subscription must end; dropping it ends the subscription.
    pub(crate) fn begin(
        &self,
        headers: HeaderMap,
        caller: Caller,
    ) -> Result<impl Future<Output = Error> + Send + use<>, Error> {
        let permit = self.permit(&caller)?;
        let (authenticator, draining) = (self.authenticator.clone(), self.draining.clone());
        Ok(async move {
            let _permit = permit;
            tokio::select! {
                () = draining.cancelled() => Error::unavailable("the gateway is stopping"),
                revoked = authenticator.revoked(&headers, &caller, REAUTHENTICATE) => revoked,
            }
        })
    }

    fn permit(&self, caller: &Caller) -> Result<(OwnedSemaphorePermit, KeyedPermit<Caller>), Error> {
        let too_many = |whose| Error::overloaded(format!("too many subscriptions {whose}"), RETRY_AFTER);
        let permit = Arc::clone(&self.permits).try_acquire_owned().map_err(|_| too_many("in all"))?;
        let of_user = self.of_users.try_acquire(caller).ok_or_else(|| too_many("of this user"))?;
        Ok((permit, of_user))
    }
}
