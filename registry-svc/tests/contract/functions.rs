//! Functions and their bindings.

use mesh::{Caller, Reason};
use proto::registry::v1::create_function_request::Part;
use proto::registry::v1::update_function_request::Part as UpdatePart;
use proto::registry::v1::{
    BindingList, CodeKind, CreateFunctionRequest, CreateFunctionSpec, DeleteFunctionRequest, Function,
    GetFunctionRequest, GetModuleRequest, Limits, ListFunctionsRequest, Metadata, UpdateFunctionRequest,
    UpdateFunctionSpec,
};
use tonic::Request;

use crate::support::{
    Database, Registry, as_subject, binding, contract, create_parts, failure, reason, refused, spec, wasm,
};

contract!(
    functions_are_created_read_and_deleted,
    omitted_fields_have_defaults,
    functions_are_validated,
    uploads_must_follow_the_protocol,
    an_update_changes_only_the_given_fields,
    updates_are_validated,
    only_the_creator_changes_a_function_of_a_shared_module,
);

async fn get(registry: &Registry, module: &str, name: &str) -> Result<Function, tonic::Status> {
    let request = GetFunctionRequest { module: module.into(), name: name.into() };
    let response = registry.functions().get_function(request).await?;
    Ok(response.into_inner().function.expect("a function"))
}

fn update(name: &str) -> UpdateFunctionSpec {
    UpdateFunctionSpec { module: "_".into(), name: name.into(), ..UpdateFunctionSpec::default() }
}

async fn functions_are_created_read_and_deleted(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create_script("s").await;
    let metadata = Metadata { tag: "edge".into(), capacity_kb: 128, idempotent: true, script: "s".into() };
    let limits = Limits { memory_bytes: 1 << 20, timeout_ms: 5000, output_bytes: 1000 };
    let full = CreateFunctionSpec {
        metadata: Some(metadata.clone()),
        limits: Some(limits),
        events: vec![binding("mqtt", r#"{"topic":"t"}"#), binding("mqtt", r#"{"topic":"u"}"#)],
        sinks: vec![binding("couchdb", r#"{"url":"http://db/x"}"#)],
        ..spec("_", "full")
    };
    let created = registry.create(full, &wasm("1")).await.expect("created");
    let function = created.function.expect("a function");
    assert_eq!((&function.metadata, function.limits), (&Some(metadata), Some(limits)));
    assert_eq!(function.revision, created.revision);
    assert!(function.created_at_ms > 0 && function.created_at_ms == function.updated_at_ms);
    let code = function.code.clone().expect("code");
    assert_eq!(code.hash, mesh::hash::Hash::of(&wasm("1")).to_bytes());
    assert_eq!((code.size, code.kind()), (wasm("1").len() as u64, CodeKind::Funless));
    let topics: Vec<_> = function.events.iter().map(|event| &*event.params).collect();
    assert_eq!(topics, [r#"{"topic":"t"}"#, r#"{"topic":"u"}"#], "bindings keep their order");
    assert!(function.sinks.iter().chain(&function.events).all(|binding| !binding.id.is_empty()));
    assert_eq!(get(&registry, "_", "full").await.expect("the function exists"), function);

    registry.create(spec("_", "another"), &wasm("2")).await.expect("created");
    let list = ListFunctionsRequest { module: "_".into(), ..ListFunctionsRequest::default() };
    let listed = registry.functions().list_functions(list).await.expect("a list").into_inner().functions;
    assert_eq!(listed.iter().map(|function| &*function.name).collect::<Vec<_>>(), ["another", "full"]);
    assert_eq!(listed[1], function);
    let pages = mesh::paging::all(|page_token| {
        let list = ListFunctionsRequest { module: "_".into(), page_size: 1, page_token };
        let mut functions = registry.functions();
        async move {
            let page = functions.list_functions(list).await?.into_inner();
            assert_eq!(page.functions.len(), 1);
            Ok::<_, tonic::Status>((page.functions, page.next_page_token))
        }
    });
    assert_eq!(pages.await.expect("pages"), listed);
    let module = registry.modules().get_module(GetModuleRequest { name: "_".into() }).await;
    assert_eq!(module.expect("a module").into_inner().functions, ["another", "full"]);

    let delete = DeleteFunctionRequest { module: "_".into(), name: "full".into() };
    let deleted = registry.functions().delete_function(delete.clone()).await.expect("deleted");
    assert_eq!(deleted.into_inner().revision, created.revision + 2);
    assert_eq!(reason(registry.functions().delete_function(delete).await), Reason::FunctionNotFound);
    let error = failure(get(&registry, "_", "full").await);
    assert_eq!(
        (error.reason, &*error.message),
        (Reason::FunctionNotFound, "no function \"full\" in module \"_\"")
    );
    let no_module = reason(get(&registry, "nothing", "full").await);
    assert_eq!(no_module, Reason::ModuleNotFound);
    assert_eq!(reason(get(&registry, "_", "nul\0").await), Reason::FunctionNotFound);
}

async fn omitted_fields_have_defaults(database: Database) {
    let registry = Registry::start(&database).await;
    let created = registry.create(spec("_", "f"), &wasm("1")).await.expect("created");
    let function = created.function.expect("a function");
    let metadata = Metadata { capacity_kb: 64, ..Metadata::default() };
    assert_eq!(function.metadata, Some(metadata));
    assert_eq!(function.limits, Some(Limits::default()));
    assert!(function.events.is_empty() && function.sinks.is_empty() && function.owner.is_empty());
}

async fn functions_are_validated(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create(spec("_", "taken"), &wasm("1")).await.expect("created");
    let taken = failure(registry.create(spec("_", "taken"), &wasm("2")).await);
    assert_eq!(taken.reason, Reason::FunctionExists);
    assert_eq!(taken.message, r#"module "_" has a function "taken" already"#);
    assert_eq!(reason(registry.create(spec("none", "f"), &wasm("1")).await), Reason::ModuleNotFound);

    let metadata = |metadata| CreateFunctionSpec { metadata: Some(metadata), ..spec("_", "f") };
    let events = |events| CreateFunctionSpec { events, ..spec("_", "f") };
    let sinks = |sinks| CreateFunctionSpec { sinks, ..spec("_", "f") };
    let cases = [
        (spec("_", ""), "name"),
        (spec("_", "a b"), "name"),
        (metadata(Metadata { capacity_kb: u64::MAX, ..Metadata::default() }), "capacity"),
        (metadata(Metadata { tag: "a\0".into(), ..Metadata::default() }), "tag"),
        (metadata(Metadata { script: "missing".into(), ..Metadata::default() }), "script"),
        (events(vec![binding("", "{}")]), "events"),
        (events(vec![binding("mqtt", "{}"), binding("mqtt", "not JSON")]), "events"),
        (sinks(vec![binding("couchdb", "[1]")]), "sinks"),
    ];
    for (spec, field) in cases {
        assert_eq!(refused(registry.create(spec, &wasm("1")).await)[0].0, field);
    }
    assert_eq!(reason(get(&registry, "_", "f").await), Reason::FunctionNotFound, "nothing was stored");
}

async fn uploads_must_follow_the_protocol(database: Database) {
    let registry = Registry::start(&database).await;
    let spec_message = || CreateFunctionRequest { part: Some(Part::Spec(spec("_", "f"))) };
    let chunk = |bytes: Vec<u8>| CreateFunctionRequest { part: Some(Part::Chunk(bytes.into())) };
    let bad_requests = [
        vec![],
        vec![chunk(wasm("1"))],
        vec![CreateFunctionRequest { part: None }],
        vec![spec_message(), chunk(wasm("1")), spec_message()],
    ];
    for messages in bad_requests {
        let created = registry.functions().create_function(futures::stream::iter(messages)).await;
        assert_eq!(reason(created), Reason::BadRequest);
    }
    for messages in [vec![spec_message()], vec![spec_message(), chunk(Vec::new())]] {
        let created = registry.functions().create_function(futures::stream::iter(messages)).await;
        assert_eq!(refused(created), [("code".to_owned(), "can't be blank".to_owned())]);
    }
    assert_eq!(reason(get(&registry, "_", "f").await), Reason::FunctionNotFound, "nothing was stored");
}

async fn an_update_changes_only_the_given_fields(database: Database) {
    let registry = Registry::start(&database).await;
    let full = CreateFunctionSpec {
        metadata: Some(Metadata {
            tag: "edge".into(),
            capacity_kb: 1,
            idempotent: true,
            ..Metadata::default()
        }),
        limits: Some(Limits { timeout_ms: 1, ..Limits::default() }),
        events: vec![binding("mqtt", r#"{"topic":"t"}"#)],
        sinks: vec![binding("couchdb", r#"{"url":"http://db/x"}"#)],
        ..spec("_", "f")
    };
    let created = registry.create(full, &wasm("1")).await.expect("created").function.expect("a function");

    let renamed = UpdateFunctionSpec { new_name: Some("g".into()), ..update("f") };
    let renamed = registry.update(renamed, None).await.expect("renamed");
    let function = renamed.function.expect("a function");
    let expected = Function {
        name: "g".into(),
        revision: renamed.revision,
        updated_at_ms: function.updated_at_ms,
        ..created.clone()
    };
    assert_eq!(function, expected, "only the name has changed");
    assert_eq!(reason(get(&registry, "_", "f").await), Reason::FunctionNotFound);

    let updated = registry.update(update("g"), Some(&wasm("2"))).await.expect("updated");
    let function = updated.function.expect("a function");
    assert_eq!(function.code.expect("code").hash, mesh::hash::Hash::of(&wasm("2")).to_bytes());
    assert_eq!((&function.id, &function.events), (&created.id, &created.events));

    let bindings = UpdateFunctionSpec {
        events: Some(BindingList { bindings: vec![binding("mqtt", r#"{"topic":"new"}"#)] }),
        sinks: Some(BindingList::default()),
        metadata: Some(Metadata { capacity_kb: 7, ..Metadata::default() }),
        limits: Some(Limits { output_bytes: 9, ..Limits::default() }),
        ..update("g")
    };
    registry.update(bindings, None).await.expect("updated");
    let function = get(&registry, "_", "g").await.expect("the function exists");
    assert_eq!(
        function.events.iter().map(|event| &*event.params).collect::<Vec<_>>(),
        [r#"{"topic":"new"}"#]
    );
    assert!(function.sinks.is_empty(), "an empty list removes them");
    assert_eq!(function.metadata.expect("metadata").capacity_kb, 7);
    assert_eq!(function.limits, Some(Limits { output_bytes: 9, ..Limits::default() }));
}

async fn updates_are_validated(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create(spec("_", "f"), &wasm("1")).await.expect("created");
    registry.create(spec("_", "taken"), &wasm("1")).await.expect("created");
    let before = get(&registry, "_", "f").await.expect("the function exists");

    let rename = |new_name: &str| UpdateFunctionSpec { new_name: Some(new_name.into()), ..update("f") };
    assert_eq!(reason(registry.update(rename("taken"), None).await), Reason::FunctionExists);
    assert_eq!(refused(registry.update(rename("a.b"), None).await)[0].0, "name");
    assert_eq!(refused(registry.update(update("f"), Some(b"")).await)[0].0, "code");
    assert_eq!(refused(registry.update(update("f"), Some(b"nonsense")).await)[0].0, "code");
    let events = Some(BindingList { bindings: vec![binding("mqtt", "")] });
    let broken = UpdateFunctionSpec { events, ..rename("g") };
    assert_eq!(refused(registry.update(broken, None).await)[0].0, "events");
    assert_eq!(reason(registry.update(update("none"), None).await), Reason::FunctionNotFound);
    let elsewhere = UpdateFunctionSpec { module: "none".into(), ..update("f") };
    assert_eq!(reason(registry.update(elsewhere, None).await), Reason::ModuleNotFound);
    assert_eq!(get(&registry, "_", "f").await.expect("the function exists"), before, "nothing has changed");
    registry.update(rename("f"), None).await.expect("a function may keep its name");

    registry.create_module("shared").await;
    let parts = create_parts(spec("_", "anns"), &wasm("1"));
    let request = as_subject("ann", futures::stream::iter(parts));
    registry.functions().create_function(request).await.expect("the default module is shared");
}

async fn only_the_creator_changes_a_function_of_a_shared_module(database: Database) {
    let registry = Registry::start(&database).await;
    let create = as_subject("ann", futures::stream::iter(create_parts(spec("_", "f"), &wasm("1"))));
    let created = registry.functions().create_function(create).await.expect("created").into_inner();
    assert_eq!(created.function.expect("a function").creator, "ann");

    let update = |caller: Caller| {
        let spec = UpdateFunctionSpec { limits: Some(Limits::default()), ..update("f") };
        let message = UpdateFunctionRequest { part: Some(UpdatePart::Spec(spec)) };
        caller.attach(Request::new(futures::stream::iter([message])))
    };
    let delete = DeleteFunctionRequest { module: "_".into(), name: "f".into() };
    let get = GetFunctionRequest { module: "_".into(), name: "f".into() };
    let mut functions = registry.functions();
    functions.get_function(as_subject("bob", get)).await.expect("everyone may read it");
    let denied = [
        reason(functions.update_function(update(Caller::Subject("bob".into()))).await),
        reason(functions.delete_function(as_subject("bob", delete.clone())).await),
    ];
    assert_eq!(denied, [Reason::PermissionDenied; 2]);
    functions
        .update_function(update(Caller::Subject("ann".into())))
        .await
        .expect("the creator may update it");
    let by_admin = functions
        .update_function(update(Caller::Admin("root".into())))
        .await
        .expect("administrators may update it");
    assert_eq!(
        by_admin.into_inner().function.expect("a function").creator,
        "ann",
        "the creator has not changed"
    );
    functions.delete_function(as_subject("ann", delete)).await.expect("deleted");
}
