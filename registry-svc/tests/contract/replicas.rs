//! Several registries on one database, and outages of the database.

use std::time::Duration;

use mesh::testing::{eventually, postgres};
use mesh::{Caller, Reason};
use proto::registry::v1::{CreateModuleRequest, GetRevisionRequest, ListModulesRequest};
use tonic::Request;

use crate::support::{Database, Registry, contract, reason};

contract!(
    replicas_see_each_others_writes,
    replicas_write_consecutive_revisions,
    every_replica_reports_the_newest_revision,
);

async fn replicas_see_each_others_writes(database: Database) {
    let (here, there) = tokio::join!(Registry::start(&database), Registry::start(&database));
    let mut watching = there.watch(&Caller::Service).await;
    watching.next().await.expect("a snapshot");
    for name in ["a", "b", "c"] {
        let revision = here.create_module(name).await;
        let seen = watching.next_within(Duration::from_millis(1500)).await.expect("a change");
        assert_eq!(seen.revision, revision);
    }
}

async fn replicas_write_consecutive_revisions(database: Database) {
    let replicas = [Registry::start(&database).await, Registry::start(&database).await];
    let writers = (0..20).map(|number| {
        let mut modules = replicas[number % 2].modules();
        async move {
            let request = CreateModuleRequest { name: format!("m{number}") };
            modules.create_module(request).await.expect("created").into_inner().revision
        }
    });
    let mut revisions = futures::future::join_all(writers).await;
    revisions.sort_unstable();
    assert!(revisions.into_iter().eq(1..=20), "revisions are unique and have no gaps");
}

async fn every_replica_reports_the_newest_revision(database: Database) {
    let (here, there) = tokio::join!(Registry::start(&database), Registry::start(&database));
    let newest = || GetRevisionRequest {};
    let revision = there.revisions().get_revision(newest()).await.expect("a revision").into_inner().revision;
    assert_eq!(revision, 0, "nothing has been written yet");
    for name in ["a", "b", "c"] {
        let written = here.create_module(name).await;
        let known = there.revisions().get_revision(newest()).await.expect("a revision").into_inner().revision;
        assert_eq!(known, written, "with or without a notification");
    }
    let user = Caller::Subject("ann".into()).attach(Request::new(newest()));
    assert_eq!(reason(there.revisions().get_revision(user).await), Reason::PermissionDenied);
}

async fn answers(registry: &Registry) -> bool {
    registry.modules().list_modules(ListModulesRequest {}).await.is_ok()
}

#[tokio::test]
async fn a_database_outage_makes_the_registry_unavailable_until_it_ends() {
    let name = postgres::create_database().await;
    let registry = Registry::start(&Database::Postgres(name.clone())).await;
    let mut watching = registry.watch(&Caller::Service).await;
    watching.next().await.expect("a snapshot");
    assert!(registry.is_ready());

    postgres::take_away(&name).await;
    let request = CreateModuleRequest { name: "m".into() };
    assert_eq!(reason(registry.modules().create_module(request).await), Reason::Unavailable);
    let listed = registry.modules().list_modules(ListModulesRequest {}).await;
    assert_eq!(reason(listed), Reason::Unavailable);
    eventually("the registry is not ready", async || !registry.is_ready()).await;
    assert_eq!(registry.service.readiness.missing(), ["database"]);

    postgres::give_back(&name).await;
    eventually("the registry is ready again", async || registry.is_ready()).await;
    eventually("the registry answers", async || answers(&registry).await).await;
    let revision = registry.create_module("m").await;
    assert_eq!(watching.next().await.expect("the stream has survived").revision, revision);
}

#[tokio::test]
async fn a_registry_starts_before_its_database() {
    let name = postgres::create_database().await;
    postgres::take_away(&name).await;
    let registry = Registry::start(&Database::Postgres(name.clone())).await;
    assert!(!registry.is_ready());
    let listed = registry.modules().list_modules(ListModulesRequest {}).await;
    assert_eq!(reason(listed), Reason::Unavailable);

    postgres::give_back(&name).await;
    eventually("the registry is ready", async || registry.is_ready()).await;
    assert_eq!(registry.create_module("m").await, 1);
}
