//! Watches of the registry.

use std::collections::BTreeSet;
use std::time::Duration;

use mesh::Caller;
use proto::registry::v1::change::Change;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::{
    Binding, CreateFunctionSpec, CreateModuleRequest, CreateScriptRequest, DeleteFunctionRequest,
    DeleteModuleRequest, DeleteScriptRequest, RenameModuleRequest, Script, Snapshot, UpdateFunctionSpec,
    WatchResponse,
};
use registry_svc::Config;

use crate::support::{Database, Registry, Watching, as_subject, config, contract, create_parts, spec, wasm};

contract!(
    a_watch_sends_a_snapshot_and_then_each_change,
    concurrent_writers_get_consecutive_revisions,
    a_watcher_that_is_too_far_behind_gets_a_snapshot,
    a_shared_snapshot_is_not_too_old_for_the_log,
    cancelled_writes_are_atomic,
    a_change_that_is_too_large_is_sent_as_a_snapshot,
    a_subject_sees_what_it_can_access,
    streams_end_when_the_registry_drains,
);

/// Receives all parts of the next snapshot.
async fn snapshot(watching: &mut Watching) -> (Snapshot, u64) {
    let mut all = Snapshot::default();
    loop {
        let WatchResponse { revision, body: Some(Body::Snapshot(part)) } =
            watching.next().await.expect("a part")
        else {
            panic!("expected a part of a snapshot")
        };
        all.modules.extend(part.modules);
        all.functions.extend(part.functions);
        all.scripts.extend(part.scripts);
        if part.complete {
            return (all, revision);
        }
    }
}

/// Receives the next changes, as text.
async fn changes(watching: &mut Watching) -> (Vec<String>, u64) {
    let response = watching.next().await.expect("a change");
    let Some(Body::Changes(set)) = response.body else { panic!("expected changes, not {response:?}") };
    let changes = set.changes.into_iter().map(|change| match change.change.expect("a known change") {
        Change::ModulePut(module) => format!("+ {}", module.name),
        Change::ModuleDeleted(module) => format!("- {}", module.name),
        Change::FunctionPut(function) => format!("+ {}/{}", function.module, function.name),
        Change::FunctionDeleted(function) => format!("- {}/{}", function.module, function.name),
        Change::ScriptPut(script) => format!("+ script {}", script.name),
        Change::ScriptDeleted(script) => format!("- script {}", script.name),
    });
    (changes.collect(), response.revision)
}

fn names(snapshot: &Snapshot) -> (BTreeSet<&str>, BTreeSet<&str>) {
    let modules = snapshot.modules.iter().map(|module| &*module.name);
    (modules.collect(), snapshot.functions.iter().map(|function| &*function.name).collect())
}

async fn a_watch_sends_a_snapshot_and_then_each_change(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create_module("old").await;
    let created = registry.create(spec("old", "f"), &wasm("1")).await.expect("created");
    let function = created.function.expect("a function");

    let mut watching = registry.watch(&Caller::Service).await;
    let (all, revision) = snapshot(&mut watching).await;
    assert_eq!(revision, created.revision);
    assert_eq!(names(&all), (["_", "old"].into(), ["f"].into()));
    assert_eq!(all.functions, [function]);

    let rename = RenameModuleRequest { name: "old".into(), new_name: "new".into() };
    registry.modules().rename_module(rename).await.expect("renamed");
    let update = UpdateFunctionSpec {
        module: "new".into(),
        name: "f".into(),
        new_name: Some("g".into()),
        ..UpdateFunctionSpec::default()
    };
    registry.update(update, None).await.expect("updated");
    registry.create(spec("new", "h"), &wasm("1")).await.expect("created");
    let delete = DeleteFunctionRequest { module: "new".into(), name: "h".into() };
    registry.functions().delete_function(delete).await.expect("deleted");
    registry.modules().delete_module(DeleteModuleRequest { name: "new".into() }).await.expect("deleted");
    let script = Script { name: "s".into(), content: "x".into(), ..Script::default() };
    registry.scripts().create_script(CreateScriptRequest { script: Some(script) }).await.expect("created");
    registry
        .scripts()
        .delete_script(DeleteScriptRequest { name: "s".into(), force: false })
        .await
        .expect("deleted");

    let expected: [&[&str]; 7] = [
        &["- old", "+ new", "+ new/f"],
        &["+ new/g"],
        &["+ new/h"],
        &["- new/h"],
        &["- new/g", "- new"],
        &["+ script s"],
        &["- script s"],
    ];
    for (expected, at) in expected.into_iter().zip(revision + 1..) {
        let (changes, revision) = changes(&mut watching).await;
        assert_eq!((changes, revision), (expected.iter().map(|&change| change.to_owned()).collect(), at));
    }
}

async fn concurrent_writers_get_consecutive_revisions(database: Database) {
    let registry = Registry::start(&database).await;
    let mut watching = registry.watch(&Caller::Service).await;
    let (_, before) = snapshot(&mut watching).await;

    let writers = (0..50).map(|number| {
        let mut modules = registry.modules();
        async move {
            let request = CreateModuleRequest { name: format!("m{number}") };
            modules.create_module(request).await.expect("created").into_inner().revision
        }
    });
    let revisions: BTreeSet<u64> = futures::future::join_all(writers).await.into_iter().collect();
    assert!(revisions.iter().copied().eq(before + 1..=before + 50), "revisions are unique and have no gaps");
    for expected in revisions {
        assert_eq!(changes(&mut watching).await.1, expected);
    }
}

async fn a_watcher_that_is_too_far_behind_gets_a_snapshot(database: Database) {
    let registry = Registry::start_as(Config { changes_kept: 3, ..config(&database) }).await;
    let mut watching = registry.watch(&Caller::Service).await;
    snapshot(&mut watching).await;
    for number in 0..10 {
        registry.create_module(&format!("m{number}")).await;
    }
    let (all, revision) = snapshot(&mut watching).await;
    assert_eq!(all.modules.len(), 11);
    let next = registry.create_module("next").await;
    assert_eq!(changes(&mut watching).await, (vec!["+ next".to_owned()], next));
    assert_eq!(next, revision + 1);
}

async fn a_shared_snapshot_is_not_too_old_for_the_log(database: Database) {
    let registry = Registry::start_as(Config { changes_kept: 3, ..config(&database) }).await;
    for number in 0..20 {
        let script =
            Script { name: format!("s{number}"), content: "x".repeat(250 << 10), ..Script::default() };
        registry
            .scripts()
            .create_script(CreateScriptRequest { script: Some(script) })
            .await
            .expect("created");
    }
    // A slow watcher holds a snapshot of several parts.
    let mut slow = registry.watch(&Caller::Service).await;
    let first = slow.next().await.expect("a part");
    assert!(matches!(first.body, Some(Body::Snapshot(part)) if !part.complete));
    let mut newest = 0;
    for number in 0..10 {
        newest = registry.create_module(&format!("m{number}")).await;
    }

    let mut watching = registry.watch(&Caller::Service).await;
    let (_, mut revision) = snapshot(&mut watching).await;
    if revision < newest {
        revision = snapshot(&mut watching).await.1;
    }
    assert_eq!(revision, newest, "the second snapshot is not the slow watcher's");
    let next = registry.create_module("next").await;
    assert_eq!(changes(&mut watching).await, (vec!["+ next".to_owned()], next));
}

async fn cancelled_writes_are_atomic(database: Database) {
    let registry = Registry::start(&database).await;
    let mut watching = registry.watch(&Caller::Service).await;
    let (_, before) = snapshot(&mut watching).await;
    for number in 0..40 {
        let mut modules = registry.modules();
        let request = CreateModuleRequest { name: format!("m{number}") };
        let patience = Duration::from_micros(100 * number);
        let _ = tokio::time::timeout(patience, modules.create_module(request)).await;
    }
    // Each write succeeded completely or not at all, and the next writer is not blocked.
    let last = registry.create_module("last").await;
    for expected in before + 1..=last {
        let (changes, revision) = changes(&mut watching).await;
        assert_eq!((changes.len(), revision), (1, expected));
    }
}

async fn a_change_that_is_too_large_is_sent_as_a_snapshot(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create_module("old").await;
    let params = format!("{{\"padding\":\"{}\"}}", "x".repeat(60 << 10));
    let sink = Binding { id: String::new(), r#type: "couchdb".into(), params };
    for name in ["f", "g"] {
        let large = CreateFunctionSpec { sinks: vec![sink.clone(); 10], ..spec("old", name) };
        registry.create(large, &wasm("1")).await.expect("created");
    }
    let mut watching = registry.watch(&Caller::Service).await;
    snapshot(&mut watching).await;
    let rename = RenameModuleRequest { name: "old".into(), new_name: "new".into() };
    registry.modules().rename_module(rename).await.expect("renamed");
    let (all, _) = snapshot(&mut watching).await;
    assert_eq!(names(&all), (["_", "new"].into(), ["f", "g"].into()));
}

async fn a_subject_sees_what_it_can_access(database: Database) {
    let registry = Registry::start(&database).await;
    let create = |name: &str| CreateModuleRequest { name: name.into() };
    registry.modules().create_module(as_subject("ann", create("anns"))).await.expect("created");
    registry.create(spec("anns", "hers"), &wasm("1")).await.expect("created");
    registry.create(spec("_", "shared"), &wasm("1")).await.expect("created");

    let (ann, bob) = (Caller::Subject("ann".into()), Caller::Subject("bob".into()));
    let (mut anns, mut bobs) = (registry.watch(&ann).await, registry.watch(&bob).await);
    assert_eq!(names(&snapshot(&mut anns).await.0), (["_", "anns"].into(), ["hers", "shared"].into()));
    assert_eq!(names(&snapshot(&mut bobs).await.0), (["_"].into(), ["shared"].into()));

    let parts = futures::stream::iter(create_parts(spec("anns", "more"), &wasm("1")));
    registry.functions().create_function(as_subject("ann", parts)).await.expect("created");
    registry.modules().create_module(as_subject("bob", create("bobs"))).await.expect("created");
    let delete = DeleteModuleRequest { name: "anns".into() };
    registry.modules().delete_module(as_subject("ann", delete)).await.expect("deleted");
    let expected: [(&[&str], &[&str]); 3] =
        [(&["+ anns/more"], &[]), (&[], &["+ bobs"]), (&["- anns/hers", "- anns/more", "- anns"], &[])];
    for (to_ann, to_bob) in expected {
        let mut seen = changes(&mut anns).await.0;
        seen.sort();
        let mut to_ann = to_ann.to_vec();
        to_ann.sort_unstable();
        assert_eq!(seen, to_ann);
        assert_eq!(changes(&mut bobs).await.0, to_bob, "every watcher receives every revision");
    }
}

async fn streams_end_when_the_registry_drains(database: Database) {
    let registry = Registry::start(&database).await;
    let mut watching = registry.watch(&Caller::Service).await;
    snapshot(&mut watching).await;
    registry.host.draining.cancel();
    assert_eq!(watching.next().await, None);
}
