//! Many functions and bindings.

use std::collections::BTreeSet;

use mesh::Caller;
use prost::Message as _;
use proto::registry::v1::watch_response::Body;
use proto::registry::v1::{
    BindingRole, CreateFunctionSpec, HoldBindingsRequest, ListFunctionsRequest, WatchRequest, WatchResponse,
};

use crate::support::{Database, Registry, binding, contract, spec, wasm};

contract!(
    a_snapshot_of_many_functions_arrives_in_small_parts,
    lists_of_many_functions_are_read_page_by_page,
    a_watch_of_revisions_has_no_contents,
    many_bindings_are_assigned_in_several_calls,
);

/// Copies the function `f` so often. The copies are `f1`, `f2` and so on.
async fn copy_function(database: &Database, copies: i32) {
    let columns = "code_hash, tag, capacity_kb, idempotent, memory_bytes, timeout_ms, output_bytes, revision, \
        created_at_ms, updated_at_ms, script, creator";
    let statement = format!(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < {copies}) \
        INSERT INTO \"function\" (id, module, name, {columns}) \
        SELECT 'id' || i, module, 'f' || i, {columns} FROM \"function\", n WHERE name = 'f'"
    );
    database.execute(&statement, []).await;
}

async fn a_snapshot_of_many_functions_arrives_in_small_parts(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create(spec("_", "f"), &wasm("1")).await.expect("created");
    copy_function(&database, 20_000).await;
    let (mut first, mut second) =
        (registry.watch(&Caller::Service).await, registry.watch(&Caller::Service).await);
    let mut ids = BTreeSet::new();
    loop {
        let response = first.next().await.expect("a part");
        assert_eq!(response, second.next().await.expect("a part"), "both get the same");
        let size = response.encoded_len();
        let Some(Body::Snapshot(part)) = response.body else { panic!("expected a part of a snapshot") };
        assert!(
            part.functions.len() <= 500 && size < 256 << 10,
            "{} functions, {size} bytes",
            part.functions.len()
        );
        ids.extend(part.functions.into_iter().map(|function| function.id));
        if part.complete {
            break;
        }
    }
    assert_eq!(ids.len(), 20_001);
}

async fn lists_of_many_functions_are_read_page_by_page(database: Database) {
    let registry = Registry::start(&database).await;
    for name in ["_", "B", "_a", "f"] {
        registry.create(spec("_", name), &wasm("1")).await.expect("created");
    }
    copy_function(&database, 5000).await;
    let mut expected: Vec<_> = (1..=5000).map(|number| format!("f{number}")).collect();
    expected.extend(["B", "_a", "f"].map(str::to_owned));
    expected.sort();
    expected.insert(0, "_".into());
    for page_size in [0, 1, 700, 1000, 10_000] {
        let (mut names, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = ListFunctionsRequest { module: "_".into(), page_size, page_token };
            let page = registry.functions().list_functions(request).await.expect("a page").into_inner();
            assert!(page_size == 0 || page.functions.len() <= page_size as usize);
            names.extend(page.functions.into_iter().map(|function| function.name));
            page_token = page.next_page_token;
            // One by one, only some of them.
            if page_token.is_empty() || (page_size == 1 && names.len() == 20) {
                break;
            }
        }
        assert_eq!(names, expected[..names.len()], "pages of {page_size}");
        assert!(page_size == 1 || names.len() == expected.len(), "pages of {page_size}");
    }
    let request = ListFunctionsRequest { module: "_".into(), page_size: 2, page_token: "f4999a".into() };
    let page = registry.functions().list_functions(request).await.expect("a page").into_inner();
    let names: Vec<_> = page.functions.iter().map(|function| &*function.name).collect();
    assert_eq!(names, ["f5", "f50"], "it begins after the token even if its function is gone");
}

async fn a_watch_of_revisions_has_no_contents(database: Database) {
    let registry = Registry::start(&database).await;
    let created = registry.create(spec("_", "f"), &wasm("1")).await.expect("created");
    let mut watching = registry.watch_as(&Caller::Service, WatchRequest { only_revisions: true }).await;
    let WatchResponse { revision, body: Some(Body::Snapshot(snapshot)) } =
        watching.next().await.expect("a snapshot")
    else {
        panic!("expected a snapshot")
    };
    assert_eq!((revision, snapshot.complete), (created.revision, true));
    assert!(snapshot.modules.is_empty() && snapshot.functions.is_empty());
    let created = registry.create(spec("_", "g"), &wasm("1")).await.expect("created");
    let WatchResponse { revision, body: Some(Body::Changes(set)) } = watching.next().await.expect("a change")
    else {
        panic!("expected changes")
    };
    assert_eq!((revision, set.changes), (created.revision, Vec::new()));
}

async fn many_bindings_are_assigned_in_several_calls(database: Database) {
    let registry = Registry::start(&database).await;
    for number in 0..40 {
        let events = vec![binding("cron", r#"{"schedule":"0 0 1 1 *"}"#); 32];
        let spec = CreateFunctionSpec { events, ..spec("_", &format!("f{number}")) };
        registry.create(spec, &wasm("1")).await.expect("created");
    }
    let (mut running, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let request = HoldBindingsRequest {
            role: BindingRole::Event.into(),
            holder: "h".into(),
            address: "http://h:1".into(),
            running: running.clone(),
            ..HoldBindingsRequest::default()
        };
        let share = registry.hold(request).await.expect("a share");
        let new = share.bindings.into_iter().map(|bound| bound.binding.expect("a binding").id);
        let new: Vec<_> = new.filter(|id| !running.contains(id)).collect();
        sizes.push(new.len());
        if new.is_empty() {
            break;
        }
        running.extend(new);
    }
    assert_eq!(sizes, [1000, 280, 0], "each call has a bounded amount of work");
    assert_eq!(running.iter().collect::<BTreeSet<_>>().len(), 40 * 32);
}
