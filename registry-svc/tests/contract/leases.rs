//! Leases of bindings.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::testing::eventually;
use mesh::{Caller, Reason};
use proto::registry::v1::{
    BindingList, BindingRole, CreateFunctionSpec, DeleteFunctionRequest, FindHoldersRequest,
    HoldBindingsRequest, ReleaseBindingsRequest, UpdateFunctionSpec,
};
use registry_svc::Config;
use tokio::time::Instant;
use tonic::{Request, Status};

use crate::support::{Database, Registry, binding, config, contract, reason, refused, spec, wasm};

contract!(
    a_single_holder_gets_all_bindings_at_once,
    more_bindings_than_fit_into_a_message_are_held,
    renewals_write_nothing_to_a_sqlite_file,
    two_holders_share_the_bindings,
    concurrent_holders_share_through_several_registries,
    a_dead_holder_loses_its_leases_when_they_expire,
    leases_that_a_wrong_clock_has_set_end_in_time,
    a_restarted_holder_gets_its_leases_back_at_once,
    a_stopping_holder_gives_up_stopped_bindings,
    released_leases_are_free,
    deleted_bindings_are_removed,
    leases_survive_an_outage_of_the_registry,
    leases_do_not_change_the_revision,
    a_renewal_is_told_only_what_has_changed,
    requests_are_validated,
);

/// A holder as the registry sees it.
struct Holder {
    request: HoldBindingsRequest,
    removed: Vec<String>,
}

impl Holder {
    fn new(name: &str) -> Self {
        let request = HoldBindingsRequest {
            role: BindingRole::Event.into(),
            holder: name.into(),
            address: format!("local:{name}"),
            ..HoldBindingsRequest::default()
        };
        Self { request, removed: Vec::new() }
    }

    /// Calls and applies the response immediately. Returns the number of running bindings.
    async fn call(&mut self, registry: &Registry) -> usize {
        let held = registry.hold(self.request.clone()).await.expect("held");
        let ids = held.bindings.into_iter().map(|held| held.binding.expect("a binding").id);
        self.request.running = ids.collect();
        self.removed = held.removed;
        self.request.running.len()
    }

    /// Calls repeatedly until the holder runs this many bindings.
    async fn call_until(&mut self, registry: &Registry, count: usize) {
        let calling = async {
            while self.call(registry).await != count {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let patience = tokio::time::timeout(Duration::from_secs(10), calling).await;
        assert!(patience.is_ok(), "the holder never runs {count} bindings");
    }

    fn running(&self) -> BTreeSet<&str> {
        self.request.running.iter().map(String::as_str).collect()
    }
}

/// Creates functions with one event each. Returns the events' ids.
async fn create(registry: &Registry, count: usize) -> Vec<String> {
    let mut ids = Vec::new();
    for number in 0..count {
        let spec = CreateFunctionSpec {
            events: vec![binding("mqtt", r#"{"topic":"t"}"#)],
            ..spec("_", &format!("f{number}"))
        };
        let created = registry.create(spec, &wasm("1")).await.expect("created");
        ids.push(created.function.expect("a function").events[0].id.clone());
    }
    ids
}

async fn holder_of(registry: &Registry, id: &str) -> Option<String> {
    let request = FindHoldersRequest { ids: vec![id.to_owned(), "nothing".into()] };
    let mut holders = registry.bindings().find_holders(request).await.expect("holders").into_inner().holders;
    assert!(holders.len() <= 1 && holders.iter().all(|holder| holder.binding_id == id));
    holders.pop().map(|holder| holder.address)
}

/// A configuration with leases that expire within a test.
fn short(database: &Database) -> Config {
    Config { binding_lease_ms: 1500, ..config(database) }
}

async fn a_single_holder_gets_all_bindings_at_once(database: Database) {
    let registry = Registry::start(&database).await;
    let ids = create(&registry, 5).await;
    let mut holder = Holder::new("a");
    assert_eq!(holder.call(&registry).await, 5);
    assert_eq!(holder.running(), ids.iter().map(String::as_str).collect());
    let before = holder.request.running.clone();
    holder.call(&registry).await;
    assert_eq!(holder.request.running, before, "the bindings and their order are stable");
    assert_eq!(holder_of(&registry, &ids[0]).await.as_deref(), Some("local:a"));
    let mut sinks = Holder::new("s");
    sinks.request.role = BindingRole::Sink.into();
    assert_eq!(sinks.call(&registry).await, 0, "roles are independent");
    assert_eq!(holder.call(&registry).await, 5);
}

async fn more_bindings_than_fit_into_a_message_are_held(database: Database) {
    const PER_FUNCTION: usize = 32;
    let registry = Registry::start(&database).await;
    let large = format!(r#"{{"topic":"t","args":"{}"}}"#, "x".repeat(60_000));
    let functions = mesh::MAX_MESSAGE_BYTES / (PER_FUNCTION * large.len()) + 1;
    for number in 0..functions {
        let events = vec![binding("mqtt", &large); PER_FUNCTION];
        let spec = CreateFunctionSpec { events, ..spec("_", &format!("f{number}")) };
        registry.create(spec, &wasm("1")).await.expect("created");
    }
    assert_eq!(Holder::new("a").call(&registry).await, functions * PER_FUNCTION);
}

async fn renewals_write_nothing_to_a_sqlite_file(database: Database) {
    let registry = Registry::start_as(short(&database)).await;
    let ids = create(&registry, 3).await;
    let mut holder = Holder::new("a");
    for _ in 0..2 {
        holder.call(&registry).await;
    }
    // The index of the write-ahead log is in shared memory, and readers change it.
    let written =
        || database.files().into_iter().filter(|(path, _)| !path.ends_with("-shm")).collect::<Vec<_>>();
    // After the writes above, the file is compacted once, at any moment.
    let (mut before, mut unchanged) = (written(), 0);
    for _ in 0..20 {
        assert_eq!(holder.call(&registry).await, 3);
        let after = written();
        unchanged = if after == before { unchanged + 1 } else { 0 };
        before = after;
        if unchanged == 3 {
            break;
        }
    }
    assert_eq!(unchanged, 3, "an idle mesh should not wear out the flash memory of a small machine");
    assert_eq!(holder_of(&registry, &ids[0]).await.as_deref(), Some("local:a"));
    let is_expired = async || holder_of(&registry, &ids[0]).await.is_none();
    eventually("the leases expire nevertheless", is_expired).await;
}

async fn two_holders_share_the_bindings(database: Database) {
    let registry = Registry::start(&database).await;
    create(&registry, 5).await;
    let (mut a, mut b) = (Holder::new("a"), Holder::new("b"));
    a.call(&registry).await;
    assert_eq!(b.call(&registry).await, 0, "all leases are taken");
    assert_eq!(a.call(&registry).await, 3, "it is told to stop two");
    assert_eq!(b.call(&registry).await, 0, "the registry does not know yet that it has stopped them");
    a.call(&registry).await;
    assert_eq!(b.call(&registry).await, 2);
    assert!(a.running().is_disjoint(&b.running()));
    assert_eq!((a.call(&registry).await, b.call(&registry).await), (3, 2), "the distribution is stable");
}

async fn concurrent_holders_share_through_several_registries(database: Database) {
    let registries = [Registry::start(&database).await, Registry::start(&database).await];
    let ids = create(&registries[0], 20).await;
    let mut holders: Vec<_> = (0..4).map(|number| Holder::new(&format!("h{number}"))).collect();
    for _ in 0..4 {
        let calls = (0..).zip(&mut holders).map(|(at, holder)| holder.call(&registries[at % 2]));
        futures::future::join_all(calls).await;
        let running: Vec<_> = holders.iter().flat_map(Holder::running).collect();
        assert_eq!(running.iter().collect::<BTreeSet<_>>().len(), running.len(), "no binding runs twice");
    }
    let counts: Vec<_> = holders.iter().map(|holder| holder.running().len()).collect();
    assert_eq!(counts, [5, 5, 5, 5], "of {}", ids.len());
}

async fn a_dead_holder_loses_its_leases_when_they_expire(database: Database) {
    let registry = Registry::start_as(short(&database)).await;
    let ids = create(&registry, 4).await;
    let (mut a, mut b) = (Holder::new("a"), Holder::new("b"));
    for _ in 0..2 {
        a.call(&registry).await;
        b.call(&registry).await;
    }
    assert_eq!((a.call(&registry).await, b.call(&registry).await), (2, 2));
    let (died, lost) = (Instant::now(), a.running().first().map(|id| (*id).to_owned()).expect("a binding"));
    assert_eq!(b.call(&registry).await, 2, "it may be alive");
    b.call_until(&registry, ids.len()).await;
    assert!(died.elapsed() < Duration::from_millis(4500), "{:?}", died.elapsed());
    assert_eq!(holder_of(&registry, &lost).await.as_deref(), Some("local:b"));
    a.call(&registry).await;
    assert!(a.running().is_disjoint(&b.running()), "it does not get its lost leases back");
}

async fn leases_that_a_wrong_clock_has_set_end_in_time(database: Database) {
    const AHEAD_MS: i64 = 30 * 24 * 3_600_000;
    let registry = Registry::start_as(short(&database)).await;
    create(&registry, 3).await;
    let (mut a, mut b) = (Holder::new("a"), Holder::new("b"));
    a.call(&registry).await;
    database.execute("UPDATE binding_holder SET expires_at_ms = expires_at_ms + $1", [AHEAD_MS.into()]).await;
    assert_eq!(b.call(&registry).await, 0, "the first holder may be alive");
    b.call_until(&registry, 3).await;
    assert_eq!(a.call(&registry).await, 0, "it was dead, and others have its leases");
}

async fn a_restarted_holder_gets_its_leases_back_at_once(database: Database) {
    let registry = Registry::start(&database).await;
    create(&registry, 3).await;
    Holder::new("a").call(&registry).await;
    let mut again = Holder::new("a, once more");
    again.request.address = "local:a".into();
    assert_eq!(again.call(&registry).await, 3, "a new holder at the same address replaces the former one");
    assert_eq!(Holder::new("b").call(&registry).await, 0);
}

async fn a_stopping_holder_gives_up_stopped_bindings(database: Database) {
    let registry = Registry::start(&database).await;
    create(&registry, 3).await;
    let (mut a, mut b) = (Holder::new("a"), Holder::new("b"));
    a.call(&registry).await;
    let running = a.request.running.clone();
    a.request.stopping = true;
    assert_eq!(a.call(&registry).await, 0);
    assert_eq!(b.call(&registry).await, 0, "the first holder has not stopped them yet");
    a.request.running = running[..1].to_vec();
    a.call(&registry).await;
    assert_eq!(b.call(&registry).await, 2, "the first holder has stopped two");
    a.call(&registry).await;
    assert_eq!(b.call(&registry).await, 3);
}

async fn released_leases_are_free(database: Database) {
    let registry = Registry::start(&database).await;
    let ids = create(&registry, 3).await;
    let (mut a, mut b) = (Holder::new("a"), Holder::new("b"));
    a.call(&registry).await;
    let release = ReleaseBindingsRequest { role: BindingRole::Event.into(), holder: "a".into() };
    registry.bindings().release_bindings(release.clone()).await.expect("released");
    assert_eq!(holder_of(&registry, &ids[0]).await, None);
    assert_eq!(b.call(&registry).await, 3);
    registry.bindings().release_bindings(release).await.expect("releasing again is not an error");
}

async fn deleted_bindings_are_removed(database: Database) {
    let registry = Registry::start(&database).await;
    let ids = create(&registry, 2).await;
    let mut holder = Holder::new("a");
    holder.call(&registry).await;
    let delete = DeleteFunctionRequest { module: "_".into(), name: "f0".into() };
    registry.functions().delete_function(delete).await.expect("deleted");
    assert_eq!(holder.call(&registry).await, 1);
    assert_eq!(holder.removed, [ids[0].clone()]);
    holder.call(&registry).await;
    assert!(holder.removed.is_empty());
    assert_eq!(holder_of(&registry, &ids[0]).await, None);
}

async fn leases_survive_an_outage_of_the_registry(database: Database) {
    let registry = Registry::start_as(short(&database)).await;
    create(&registry, 4).await;
    let (mut a, mut b) = (Holder::new("a"), Holder::new("b"));
    for _ in 0..3 {
        a.call(&registry).await;
        b.call(&registry).await;
    }
    let before = (a.request.running.clone(), b.request.running.clone());
    assert_eq!((before.0.len(), before.1.len()), (2, 2));
    let held = before.0[0].clone();
    eventually("all leases have expired", async || holder_of(&registry, &held).await.is_none()).await;
    registry.stop().await;

    let registry = Registry::start_as(short(&database)).await;
    assert_eq!(a.call(&registry).await, 2, "the other holder could not renew, either");
    assert_eq!(b.call(&registry).await, 2);
    assert_eq!((a.request.running.clone(), b.request.running.clone()), before);
    // A holder that does not call again is dead.
    a.call_until(&registry, 4).await;
}

async fn leases_do_not_change_the_revision(database: Database) {
    let registry = Registry::start(&database).await;
    create(&registry, 1).await;
    let mut watching = registry.watch(&Caller::Service).await;
    watching.next().await.expect("a snapshot");
    for _ in 0..3 {
        Holder::new("a").call(&registry).await;
    }
    let revision = registry.create_module("m").await;
    assert_eq!(revision, 2, "creating the function was the first write");
    assert_eq!(watching.next().await.expect("a change").revision, revision);
}

async fn a_renewal_is_told_only_what_has_changed(database: Database) {
    let registry = Registry::start(&database).await;
    let mut ids = create(&registry, 2).await;
    let event = |password: &str| binding("mqtt", &format!(r#"{{"topic":"t","password":"{password}"}}"#));
    let with_password = CreateFunctionSpec { events: vec![event("old")], ..spec("_", "g") };
    let created = registry.create(with_password, &wasm("1")).await.expect("created");
    ids.push(created.function.expect("a function").events[0].id.clone());
    let mut request = Holder::new("a").request;
    let call = async |request: &mut HoldBindingsRequest| {
        let held = registry.hold(request.clone()).await.expect("held");
        request.known_revision = held.known_revision;
        let bindings = held.bindings.into_iter().map(|held| held.binding.expect("a binding").id);
        (Vec::from_iter(bindings), held.removed, held.released)
    };
    let nothing = Vec::new;
    assert_eq!(call(&mut request).await, (ids.clone(), nothing(), nothing()));
    request.running.clone_from(&ids);
    assert_eq!(call(&mut request).await, (nothing(), nothing(), nothing()), "nothing has changed");
    registry.create_module("m").await;
    assert_eq!(call(&mut request).await, (nothing(), nothing(), nothing()), "no binding has changed");
    let update = UpdateFunctionSpec {
        module: "_".into(),
        name: "g".into(),
        events: Some(BindingList { bindings: vec![event("new")] }),
        ..UpdateFunctionSpec::default()
    };
    registry.update(update, None).await.expect("updated");
    assert_eq!(call(&mut request).await, (vec![ids[2].clone()], nothing(), nothing()), "one has changed");
    request.running.retain(|id| *id != ids[1]);
    assert_eq!(call(&mut request).await, (vec![ids[1].clone()], nothing(), nothing()), "one has ended");
    request.running.clone_from(&ids);
    let delete = DeleteFunctionRequest { module: "_".into(), name: "f0".into() };
    registry.functions().delete_function(delete).await.expect("deleted");
    assert_eq!(call(&mut request).await, (nothing(), vec![ids[0].clone()], nothing()));
    request.running.retain(|id| *id != ids[0]);
    Holder::new("b").call(&registry).await;
    let (news, removed, released) = call(&mut request).await;
    assert_eq!((news, removed, released.len()), (nothing(), nothing(), 1), "the other one gets its share");
    request.known_revision = u64::MAX;
    let (news, ..) = call(&mut request).await;
    assert_eq!(news.len(), 1, "of a database that was restored from a copy");
}

async fn requests_are_validated(database: Database) {
    let registry = Registry::start(&database).await;
    let call = async |change: fn(&mut HoldBindingsRequest)| -> Result<_, Status> {
        let mut request = Holder::new("a").request;
        change(&mut request);
        registry.hold(request).await
    };
    let field = |refused: Vec<(String, String)>| refused[0].0.clone();
    assert_eq!(field(refused(call(|request| request.role = 0).await)), "role");
    assert_eq!(field(refused(call(|request| request.role = 9).await)), "role");
    assert_eq!(field(refused(call(|request| request.holder = " ".into()).await)), "holder");
    assert_eq!(field(refused(call(|request| request.holder = "a\0".into()).await)), "holder");
    assert_eq!(field(refused(call(|request| request.address = "nowhere".into()).await)), "address");
    call(|request| request.running = vec!["nul\0".into(), String::new()]).await.expect("they do not exist");

    let mut bindings = registry.bindings();
    let ann = Caller::Subject("ann".into());
    let find = ann.attach(Request::new(FindHoldersRequest::default()));
    assert_eq!(reason(bindings.find_holders(find).await), Reason::PermissionDenied);
    let release = ReleaseBindingsRequest { role: BindingRole::Event.into(), holder: "a".into() };
    let release = ann.attach(Request::new(release));
    assert_eq!(reason(bindings.release_bindings(release).await), Reason::PermissionDenied);
}
