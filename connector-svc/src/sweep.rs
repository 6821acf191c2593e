//! Marks the events of bindings as lost that were removed while no connector was running: such a binding has no
//! holder that would end its events. Bindings that exist are left alone, whether they have a holder or not.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use mesh::bindings::find_existing;
use mesh::deadline::Deadline;
use mesh::{Channel, Error};

use crate::journal::{Change, Journal, Write};

/// How often to sweep.
const INTERVAL: Duration = Duration::from_secs(30);
/// A binding that is missing from the registry in this many sweeps in a row has been removed.
const REQUIRED_MISSES: u32 = 2;
/// How long a sweep may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Sweeps for ever.
pub(crate) async fn keep_sweeping(journal: Journal, registry: Channel) {
    let mut missing = Missing::default();
    loop {
        tokio::time::sleep(INTERVAL).await;
        match sweep(&journal, &registry, &mut missing).await {
            Ok(()) => {}
            Err(error) => {
                tracing::debug!(%error, "the sweep for removed bindings failed; trying again later")
            }
        }
    }
}

async fn sweep(journal: &Journal, registry: &Channel, missing: &mut Missing) -> Result<(), Error> {
    let busy = journal.busy_bindings().await.map_err(|error| Error::unavailable(error.to_string()))?;
    let existing = find_existing(registry, busy.clone(), Deadline::after(TIMEOUT)).await?;
    for id in missing.count(busy, &existing) {
        let write = Write { binding_id: id.as_str().into(), change: Change::MarkAllLost };
        if let Ok(Ok(events)) = journal.try_write(write).await {
            tracing::info!(binding = id, events, "the binding was removed; its events are lost");
        }
    }
    Ok(())
}

/// In how many sweeps in a row bindings were missing from the registry.
#[derive(Default)]
struct Missing(HashMap<String, u32>);

impl Missing {
    /// Counts the bindings that do not exist, and returns those that have been removed.
    fn count(&mut self, busy: Vec<String>, existing: &HashSet<String>) -> Vec<String> {
        let missing = busy.into_iter().filter(|id| !existing.contains(id));
        let times = missing.map(|id| {
            let times = self.0.get(&id).copied().unwrap_or_default() + 1;
            (id, times)
        });
        self.0 = times.collect();
        self.0.extract_if(|_, times| *times >= REQUIRED_MISSES).map(|(id, _)| id).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use futures::stream::Empty;
    use mesh::endpoint::Endpoint;
    use mesh::shutdown::Tasks;
    use parking_lot::Mutex;
    use proto::registry::v1::bindings_server::{Bindings, BindingsServer};
    use proto::registry::v1::{
        FindHoldersRequest, FindHoldersResponse, FunctionBinding, HoldBindingsRequest, HoldBindingsResponse,
        ReleaseBindingsRequest, ReleaseBindingsResponse,
    };
    use tonic::{Request, Response, Status};
    use uuid::Uuid;

    use super::*;
    use crate::binding::BoundFunction;
    use crate::journal::Entry;

    /// A registry with these bindings, which have no holders.
    #[derive(Clone)]
    struct FakeRegistry(Arc<Mutex<Vec<String>>>);

    #[tonic::async_trait]
    impl Bindings for FakeRegistry {
        type HoldBindingsStream = Empty<Result<HoldBindingsResponse, Status>>;

        async fn hold_bindings(
            &self,
            _: Request<HoldBindingsRequest>,
        ) -> Result<Response<Self::HoldBindingsStream>, Status> {
            Err(Status::unimplemented("there are no holders"))
        }

        async fn release_bindings(
            &self,
            _: Request<ReleaseBindingsRequest>,
        ) -> Result<Response<ReleaseBindingsResponse>, Status> {
            Err(Status::unimplemented("there are no holders"))
        }

        async fn find_holders(
            &self,
            _: Request<FindHoldersRequest>,
        ) -> Result<Response<FindHoldersResponse>, Status> {
            Ok(Response::new(FindHoldersResponse { holders: Vec::new(), existing: self.0.lock().clone() }))
        }
    }

    async fn journal_with_an_event() -> Journal {
        let url = "sqlite::memory:".parse().expect("a URL");
        let journal = Journal::open(&url, 1, &Tasks::default()).await.expect("opened");
        journal.migrate().await.expect("migrated");
        let entry = Entry {
            id: Uuid::now_v7(),
            key: "1".into(),
            fingerprint: None,
            invocation_id: Uuid::now_v7(),
            received_at_ms: 1,
            args: None,
            ended: false,
            trace: None,
        };
        let open = Change::Open(Arc::new(BoundFunction::of(&FunctionBinding::default())));
        for change in [open, Change::Begin { epoch: 1, entry }] {
            journal.write(Write { binding_id: "b".into(), change }).await.expect("written");
        }
        journal
    }

    #[tokio::test]
    async fn events_are_kept_until_their_binding_is_removed() {
        let journal = journal_with_an_event().await;
        let registry = FakeRegistry(Arc::new(Mutex::new(vec!["b".into()])));
        let host = mesh::testing::host("connector");
        let router = tonic::service::Routes::new(BindingsServer::new(registry.clone())).into_axum_router();
        host.dialer.provide("registry", router);
        let channel = host.dialer.dial(&Endpoint::Local("registry".into())).expect("a local endpoint");
        let mut missing = Missing::default();
        let mut sweep = async || {
            sweep(&journal, &channel, &mut missing).await.expect("the registry answers");
            journal.busy_bindings().await.expect("read").len()
        };
        for _ in 0..5 {
            assert_eq!(sweep().await, 1, "it exists");
        }
        registry.0.lock().clear();
        assert_eq!((sweep().await, sweep().await), (1, 0));
    }

    #[test]
    fn a_binding_is_removed_after_two_misses_in_a_row() {
        let mut missing = Missing::default();
        let busy = || vec!["a".to_owned(), "b".to_owned()];
        let existing = |ids: &[&str]| ids.iter().map(|id| (*id).to_owned()).collect::<HashSet<_>>();
        let looks: [(&[&str], &[&str]); 5] =
            [(&["b"], &[]), (&["a"], &[]), (&["a"], &["b"]), (&["a", "b"], &[]), (&["b"], &[])];
        for (number, (there, removed)) in looks.into_iter().enumerate() {
            assert_eq!(missing.count(busy(), &existing(there)), removed, "look {number}");
        }
        assert!(missing.count(vec![], &existing(&[])).is_empty());
    }
}
