//! Several registries on one database, and a database that is not always there.

use std::time::Duration;

use mesh::testing::{eventually, postgres};
use mesh::{Caller, Reason};
use proto::registry::v1::{CreateModuleRequest, GetRevisionRequest, ListModulesRequest};
use tonic::Request;

use crate::support::{Database, Registry, contract, reason};

contract!(
    replicas_see_each_others_writes,
    replicas_write_in_one_order,
    each_replica_knows_the_newest_revision_of_all,
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

async fn replicas_write_in_one_order(database: Database) {
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
    assert!(revisions.into_iter().eq(1..=20), "each its own, and no gaps");
}

async fn each_replica_knows_the_newest_revision_of_all(database: Database) {
    let (here, there) = tokio::join!(Registry::start(&database), Registry::start(&database));
    let newest = || GetRevisionRequest {};
    let revision = there.revisions().get_revision(newest()).await.expect("an answer").into_inner().revision;
    assert_eq!(revision, 0, "nothing is written yet");
    for name in ["a", "b", "c"] {
        let written = here.create_module(name).await;
        let known = there.revisions().get_revision(newest()).await.expect("an answer").into_inner().revision;
        assert_eq!(known, written, "whether a notification has come or not");
    }
    let user = Caller::Subject("ann".into()).attach(Request::new(newest()));
    assert_eq!(reason(there.revisions().get_revision(user).await), Reason::PermissionDenied);
}

async fn answers(registry: &Registry) -> bool {
    registry.modules().list_modules(ListModulesRequest {}).await.is_ok()
}

#[tokio::test]
async fn an_absent_database_makes_unavailable_and_nothing_else() {
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
    eventually("it is not ready", async || !registry.is_ready()).await;
    assert_eq!(registry.service.readiness.missing(), ["database"]);

    postgres::give_back(&name).await;
    eventually("it is ready again", async || registry.is_ready()).await;
    eventually("it answers", async || answers(&registry).await).await;
    let revision = registry.create_module("m").await;
    assert_eq!(watching.next().await.expect("the stream has held").revision, revision);
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
    eventually("it is ready", async || registry.is_ready()).await;
    assert_eq!(registry.create_module("m").await, 1);
}
