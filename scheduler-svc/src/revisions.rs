//! Waits for a revision of the registry that a caller has seen.

use std::sync::Arc;
use std::time::Duration;

use mesh::backoff::Backoff;
use mesh::deadline::Deadline;
use mesh::{Channel, Error};
use proto::registry::v1::GetRevisionRequest;
use proto::registry::v1::revisions_client::RevisionsClient;
use tokio::sync::Mutex;
use tokio::time::{Instant, timeout_at};
use tonic::Request;

use crate::catalog::Catalog;
use crate::error::SchedulingError;

/// How long to wait if the caller sets no deadline, and how long for a registry that does not answer.
const DEFAULT_WAIT: Duration = Duration::from_secs(5);
/// How long a wait for a revision takes before the registry is asked whether it answers, and how long that may take.
const PROBE: Duration = Duration::from_secs(1);
/// How long before the caller's deadline to answer.
const TIME_TO_ANSWER: Duration = Duration::from_millis(100);

/// Waits until the catalog has reached a revision. The registry is asked only for revisions that the catalog
/// has not reached.
#[derive(Debug)]
pub struct Revisions {
    catalog: Arc<Catalog>,
    registry: RevisionsClient<Channel>,
    newest: Mutex<Newest>,
    probed: Mutex<Probed>,
}

/// Whether the registry answered.
#[derive(Debug, Default)]
struct Probed {
    answered: bool,
    asked: Option<Instant>,
}

/// The registry's last answer.
#[derive(Debug, Default)]
struct Newest {
    revision: u64,
    asked: Option<Instant>,
}

/// The deadline for waiting for a revision: somewhat before that of the request, so that the caller learns
/// what was waited for.
pub fn wait_deadline<T>(request: &Request<T>) -> Deadline {
    Deadline::of(request).unwrap_or_else(|| Deadline::after(DEFAULT_WAIT)).earlier(TIME_TO_ANSWER)
}

impl Revisions {
    /// The revisions of `catalog`, which follows the service behind `registry`.
    pub fn new(catalog: Arc<Catalog>, registry: Channel) -> Self {
        let registry = RevisionsClient::new(registry);
        Self { catalog, registry, newest: Mutex::default(), probed: Mutex::default() }
    }

    /// Waits until the catalog has reached the revision `wanted`. Refuses one that the registry has not given
    /// out.
    pub async fn wait_for(&self, wanted: u64, deadline: Deadline) -> Result<(), SchedulingError> {
        if self.catalog.has_reached(wanted) {
            return Ok(());
        }
        let began = Instant::now();
        let behind = |registry_is_away| SchedulingError::CatalogBehind {
            wanted,
            have: self.catalog.revision(),
            waited: began.elapsed(),
            registry_is_away,
        };
        let ask_until = deadline.min(Deadline::after(DEFAULT_WAIT));
        let newest = async {
            tokio::select! {
                () = self.catalog.wait_for_revision(wanted) => wanted,
                newest = self.ask_until_answered(wanted, ask_until) => newest,
            }
        };
        let newest = timeout_at(ask_until.instant(), newest).await.map_err(|_| behind(true))?;
        if newest < wanted {
            return Err(SchedulingError::UnknownRevision { wanted, newest });
        }
        timeout_at(deadline.instant(), self.catalog.wait_for_revision(wanted))
            .await
            .map_err(|_| behind(false))
    }

    /// Like [`Self::wait_for`], but if the registry, or its database, turns out not to answer in the meantime, it does
    /// not wait any longer: the catalog cannot catch up.
    pub async fn wait_for_if_possible(&self, wanted: u64, deadline: Deadline) -> Result<(), SchedulingError> {
        if self.catalog.has_reached(wanted) {
            return Ok(());
        }
        tokio::select! {
            reached = self.wait_for(wanted, deadline) => reached,
            () = self.registry_is_silent() => Ok(()),
        }
    }

    /// Completes when the registry does not answer.
    async fn registry_is_silent(&self) {
        loop {
            tokio::time::sleep(PROBE).await;
            if !self.registry_answers().await {
                return;
            }
        }
    }

    /// Concurrent callers share an answer.
    async fn registry_answers(&self) -> bool {
        let arrived = Instant::now();
        let mut probed = self.probed.lock().await;
        if probed.asked.is_none_or(|asked| asked < arrived) {
            let asked = Some(Instant::now());
            let request = Deadline::after(PROBE).attach(GetRevisionRequest {});
            let answered = self.registry.clone().get_revision(request).await.is_ok();
            *probed = Probed { answered, asked };
        }
        probed.answered
    }

    async fn ask_until_answered(&self, wanted: u64, deadline: Deadline) -> u64 {
        let mut backoff = Backoff::reconnect();
        loop {
            match self.newest(wanted, deadline).await {
                Ok(newest) => return newest,
                Err(error) => tracing::debug!(%error, "the registry did not tell its newest revision"),
            }
            tokio::time::sleep(backoff.next_wait()).await;
        }
    }

    /// The registry's newest revision, or an earlier one that is at least `wanted`. Concurrent callers share
    /// an answer.
    async fn newest(&self, wanted: u64, deadline: Deadline) -> Result<u64, Error> {
        let arrived = Instant::now();
        let mut newest = self.newest.lock().await;
        let is_known = newest.revision >= wanted && self.catalog.revision().is_some();
        if !is_known && newest.asked.is_none_or(|asked| asked < arrived) {
            let asked = Some(Instant::now());
            let answer = self.registry.clone().get_revision(deadline.attach(GetRevisionRequest {})).await?;
            *newest = Newest { revision: answer.into_inner().revision, asked };
        }
        Ok(newest.revision)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::future::join_all;
    use mesh::follow::Update;
    use proto::registry::v1::revisions_server::{self, RevisionsServer};
    use proto::registry::v1::{GetRevisionResponse, Snapshot};
    use tonic::{Response, Status};

    use super::*;

    /// A registry at revision 5 that counts how often it is asked.
    #[derive(Clone, Default)]
    struct Registry(Arc<AtomicU64>);

    #[tonic::async_trait]
    impl revisions_server::Revisions for Registry {
        async fn get_revision(
            &self,
            _: Request<GetRevisionRequest>,
        ) -> Result<Response<GetRevisionResponse>, Status> {
            self.0.fetch_add(1, Ordering::Relaxed);
            tokio::task::yield_now().await;
            Ok(Response::new(GetRevisionResponse { revision: 5 }))
        }
    }

    fn revisions() -> (Revisions, Arc<Catalog>, Arc<AtomicU64>) {
        let (host, registry) = (mesh::testing::host("scheduler"), Registry::default());
        let router = tonic::service::Routes::new(RevisionsServer::new(registry.clone())).into_axum_router();
        host.dialer.provide("registry", router);
        let channel = host.dialer.dial(&"local:registry".parse().expect("an endpoint")).expect("dialled");
        let catalog = Arc::new(Catalog::default());
        (Revisions::new(Arc::clone(&catalog), channel), catalog, registry.0)
    }

    fn long() -> Deadline {
        Deadline::after(Duration::from_secs(60))
    }

    #[tokio::test]
    async fn concurrent_callers_share_an_answer_of_the_registry() {
        let (revisions, catalog, asked) = revisions();
        catalog.apply(Update::Snapshot(Snapshot::default(), 4));
        for seen in [0, 4] {
            assert_eq!(revisions.wait_for(seen, long()).await, Ok(()));
        }
        assert_eq!(asked.load(Ordering::Relaxed), 0);
        let refused = join_all((0..50).map(|_| revisions.wait_for(99, long()))).await;
        let expected = Err(SchedulingError::UnknownRevision { wanted: 99, newest: 5 });
        assert!(refused.iter().all(|refused| *refused == expected), "{refused:?}");
        // One for the first caller, and one for those that came after it had asked.
        assert_eq!(asked.load(Ordering::Relaxed), 2);
        let late = Deadline::after(Duration::ZERO);
        assert!(revisions.wait_for(5, late).await.is_err());
        assert_eq!(asked.load(Ordering::Relaxed), 2, "5 is known to be given out");
    }

    #[tokio::test]
    async fn waits_for_the_revision() {
        let (revisions, catalog, _) = revisions();
        let waiting = async { tokio::join!(revisions.wait_for(5, long()), revisions.wait_for(0, long())) };
        let following = async {
            catalog.apply(Update::Snapshot(Snapshot::default(), 4));
            tokio::task::yield_now().await;
            catalog.apply(Update::Changes(Vec::new(), 5));
        };
        assert_eq!(tokio::join!(waiting, following).0, (Ok(()), Ok(())));
    }
}
