//! Events and sinks of functions.

use futures::stream;
use mesh::{Caller, Reason};
use proto::registry::v1::{
    Binding, BindingList, BindingRole, CreateFunctionSpec, CreateModuleRequest, Function, GetFunctionRequest,
    HoldBindingsRequest, UpdateFunctionSpec,
};
use registry_svc::Config;
use tonic::Request;

use crate::support::{
    Database, Registry, as_subject, binding, config, contract, create_parts, reason, refused, spec, wasm,
};

contract!(
    secrets_are_for_services,
    the_parameters_of_a_subject_are_limited,
    bindings_belong_to_the_owner_of_the_module_or_else_to_the_creator,
    redacted_secrets_are_refused,
    an_unchanged_binding_keeps_its_id,
    bindings_need_an_encryption_key,
);

fn hold(role: BindingRole) -> HoldBindingsRequest {
    HoldBindingsRequest {
        role: role.into(),
        holder: "h".into(),
        address: "local:h".into(),
        ..HoldBindingsRequest::default()
    }
}

fn events(name: &str, events: Vec<Binding>) -> UpdateFunctionSpec {
    UpdateFunctionSpec {
        module: "_".into(),
        name: name.into(),
        events: Some(BindingList { bindings: events }),
        ..UpdateFunctionSpec::default()
    }
}

fn ids(bindings: &[Binding]) -> Vec<&str> {
    bindings.iter().map(|binding| &*binding.id).collect()
}

async fn secrets_are_for_services(database: Database) {
    let registry = Registry::start(&database).await;
    let params = r#"{"url":"http://u:hunter2@db/x", "password":"hunter2", "port":1883}"#;
    let redacted = r#"{"password":"***","port":1883,"url":"http://***@db/x"}"#;
    let secret = CreateFunctionSpec {
        events: vec![binding("mqtt", params)],
        sinks: vec![binding("couchdb", params)],
        ..spec("_", "f")
    };
    let mut watching = registry.watch(&Caller::Service).await;
    watching.next().await.expect("a snapshot");
    let created = registry.create(secret, &wasm("1")).await.expect("created");
    let function = created.function.expect("a function");
    assert_eq!((&*function.events[0].params, &*function.sinks[0].params), (redacted, redacted));
    let get = GetFunctionRequest { module: "_".into(), name: "f".into() };
    let read = registry.functions().get_function(get).await.expect("the function exists").into_inner();
    assert_eq!(read.function.as_ref(), Some(&function));
    assert!(!format!("{:?}", watching.next().await).contains("hunter2"));
    assert!(!format!("{:?}", registry.watch(&Caller::Service).await.next().await).contains("hunter2"));

    let mut bindings = registry.bindings();
    for (role, expected) in [(BindingRole::Event, &function.events), (BindingRole::Sink, &function.sinks)] {
        let held = registry.hold(hold(role)).await.expect("bindings");
        assert_eq!(held.revision, created.revision);
        let [held] = &held.bindings[..] else { panic!("expected one binding: {held:?}") };
        assert_eq!((&*held.module, &*held.function, &held.function_id), ("_", "f", &function.id));
        assert_eq!(held.owner, function.owner);
        let binding = held.binding.as_ref().expect("a binding");
        assert_eq!(
            (&*binding.params, &binding.id),
            (params, &expected[0].id),
            "parameters are not redacted for services"
        );
    }
    for user in [Caller::Subject("ann".into()), Caller::Admin("root".into())] {
        let request = user.attach(Request::new(hold(BindingRole::Sink)));
        assert_eq!(reason(bindings.hold_bindings(request).await), Reason::PermissionDenied);
    }
}

async fn the_parameters_of_a_subject_are_limited(database: Database) {
    let config = Config { max_params_bytes_per_subject: 2000, ..config(&database) };
    let registry = Registry::start_as(config).await;
    let params = format!(r#"{{"topic":"{}"}}"#, "t".repeat(500));
    let create = async |name: &str, count: usize| {
        let spec = CreateFunctionSpec { events: vec![binding("mqtt", &params); count], ..spec("_", name) };
        let parts = stream::iter(create_parts(spec, &wasm("1")));
        registry.functions().create_function(as_subject("ann", parts)).await
    };
    create("small", 1).await.expect("created");
    let refused = refused(create("large", 3).await);
    let [(field, message)] = &refused[..] else { panic!("expected one field: {refused:?}") };
    assert_eq!(field, "params");
    assert!(message.contains("of ann's functions") && message.contains("the maximum is 2000"), "{message}");
    create("second", 1).await.expect("nothing of what was refused is left");
    let spec = CreateFunctionSpec { events: vec![binding("mqtt", &params); 5], ..spec("_", "shared") };
    registry.create(spec, &wasm("1")).await.expect("services are not limited");
}

async fn redacted_secrets_are_refused(database: Database) {
    let registry = Registry::start(&database).await;
    let given = binding("mqtt", r#"{"password":"hunter2"}"#);
    let with_secret = CreateFunctionSpec { events: vec![given], ..spec("_", "f") };
    let created = registry.create(with_secret, &wasm("1")).await.expect("created").function;
    let read = created.expect("a function").events;
    let message = "*** stands for a secret that is not shown; write the secret itself";
    let expected = [("events".to_owned(), message.to_owned())];
    assert_eq!(refused(registry.update(events("f", read.clone()), None).await), expected);
    let copy = CreateFunctionSpec { events: read, ..spec("_", "g") };
    assert_eq!(refused(registry.create(copy, &wasm("1")).await), expected);
}

async fn an_unchanged_binding_keeps_its_id(database: Database) {
    let registry = Registry::start(&database).await;
    let (t, u) = (r#"{"topic":"t","password":"p"}"#, r#"{"topic":"u","password":"p"}"#);
    let full = CreateFunctionSpec {
        events: vec![binding("mqtt", t), binding("mqtt", u), binding("mqtt", t)],
        sinks: vec![binding("mqtt", t)],
        ..spec("_", "f")
    };
    let created = registry.create(full, &wasm("1")).await.expect("created").function.expect("a function");
    let [first, second, third] = ids(&created.events)[..] else {
        panic!("expected three events: {created:?}")
    };
    let update = async |list: Vec<Binding>| -> Function {
        registry.update(events("f", list), None).await.expect("updated").function.expect("a function")
    };

    let same = r#"{ "password": "p", "topic": "t" }"#;
    let moved = update(vec![binding("mqtt", u), binding("mqtt", same), binding("nats", t)]).await;
    assert_eq!(ids(&moved.events)[..2], [second, first], "only their order has changed");
    let topics: Vec<_> = moved.events.iter().map(|event| (&*event.r#type, &*event.params)).collect();
    let redacted = |topic| format!(r#"{{"password":"***","topic":"{topic}"}}"#);
    let (redacted_t, redacted_u) = (redacted("t"), redacted("u"));
    assert_eq!(topics, [("mqtt", &*redacted_u), ("mqtt", &*redacted_t), ("nats", &*redacted_t)]);
    let is_new = |id| ![first, second, third, &created.sinks[0].id].contains(&id);
    assert!(is_new(&*moved.events[2].id), "a binding of another kind is new");
    assert_eq!(moved.sinks, created.sinks);

    // The same source with another password and other handling parameters.
    let handled = r#"{"topic":"u","password":"q","max_attempts":9}"#;
    let changed = update(vec![binding("mqtt", handled), binding("mqtt", same)]).await;
    assert_eq!(ids(&changed.events), [second, first]);
    assert!(changed.events[0].params.contains("max_attempts"), "{changed:?}");

    // A sink keeps its id when its parameters change, and with it its pending results.
    let sinks = |list: Vec<Binding>| UpdateFunctionSpec {
        module: "_".into(),
        name: "f".into(),
        sinks: Some(BindingList { bindings: list }),
        ..UpdateFunctionSpec::default()
    };
    let corrected = registry.update(sinks(vec![binding("couchdb", t), binding("mqtt", u)]), None).await;
    let corrected = corrected.expect("updated").function.expect("a function");
    assert_eq!(corrected.sinks[1].id, created.sinks[0].id);
    assert!(corrected.sinks[1].params.contains(r#""topic":"u""#), "{corrected:?}");
    assert!(is_new(&*corrected.sinks[0].id));

    let twice = update(vec![binding("mqtt", t), binding("mqtt", t)]).await;
    assert_eq!(twice.events[0].id, first);
    assert!(is_new(&*twice.events[1].id), "each former binding is matched once");
    assert!(
        is_new(&*update(vec![binding("mqtt", u)]).await.events[0].id),
        "a deleted binding's id is not reused"
    );
}

async fn bindings_need_an_encryption_key(database: Database) {
    let registry = Registry::start_as(Config { encryption_key: None, ..config(&database) }).await;
    registry.create(spec("_", "f"), &wasm("1")).await.expect("created without bindings");
    registry.update(events("f", Vec::new()), None).await.expect("an empty list needs no key");
    let mqtt = || vec![binding("mqtt", "{}")];
    let updated = refused(registry.update(events("f", mqtt()), None).await);
    let created =
        refused(registry.create(CreateFunctionSpec { sinks: mqtt(), ..spec("_", "g") }, &wasm("1")).await);
    for (refused, field) in [(updated, "events"), (created, "sinks")] {
        assert!(refused[0].0 == field && refused[0].1.contains("encryption_key"), "{refused:?}");
    }
}

async fn bindings_belong_to_the_owner_of_the_module_or_else_to_the_creator(database: Database) {
    let registry = Registry::start(&database).await;
    let module = CreateModuleRequest { name: "anns".into() };
    registry.modules().create_module(as_subject("ann", module)).await.expect("created");
    for (creator, module) in [(Caller::Subject("bob".into()), "_"), (Caller::Admin("root".into()), "anns")] {
        let spec = CreateFunctionSpec { sinks: vec![binding("couchdb", "{}")], ..spec(module, "f") };
        let parts = stream::iter(create_parts(spec, &wasm("1")));
        let request = creator.attach(Request::new(parts));
        registry.functions().create_function(request).await.expect("created");
    }
    let held = registry.hold(hold(BindingRole::Sink)).await.expect("bindings");
    let owners: Vec<_> = held.bindings.iter().map(|held| (&*held.module, &*held.owner)).collect();
    assert_eq!(owners, [("_", "bob"), ("anns", "ann")]);
}
