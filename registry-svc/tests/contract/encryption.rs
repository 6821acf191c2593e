//! Parameters of bindings in the database.

use mesh::auth::Secret;
use proto::registry::v1::{
    Binding, BindingRole, CreateFunctionSpec, GetFunctionRequest, HoldBindingsRequest, HoldBindingsResponse,
};
use registry_svc::Config;

use crate::support::{
    Database, Registry, binding, config, contract, spec, store_params, stored_params, wasm,
};

contract!(
    secrets_are_stored_encrypted,
    keys_are_rotated,
    what_was_stored_in_clear_is_encrypted,
    what_cannot_be_read_stays_and_harms_nothing,
);

const PARAMS: &str = r#"{"topic":"t","password":"hunter2"}"#;

async fn create(registry: &Registry) -> Binding {
    let spec = CreateFunctionSpec { events: vec![binding("mqtt", PARAMS)], ..spec("_", "f") };
    let created = registry.create(spec, &wasm("1")).await.expect("created");
    created.function.expect("a function").events.remove(0)
}

async fn hold(registry: &Registry, running: &[&str]) -> HoldBindingsResponse {
    let request = HoldBindingsRequest {
        role: BindingRole::Event.into(),
        holder: "h".into(),
        address: "local:h".into(),
        running: running.iter().map(|&id| id.to_owned()).collect(),
        stopping: false,
    };
    registry.bindings().hold_bindings(request).await.expect("held").into_inner()
}

/// The parameters of what is held.
async fn held_params(registry: &Registry) -> Vec<String> {
    let held = hold(registry, &[]).await.bindings;
    held.into_iter().filter_map(|held| Some(held.binding?.params)).collect()
}

/// The id of the key under which the only binding is stored.
async fn stored_key(database: &Database) -> String {
    let [stored] = &stored_params(database).await[..] else { panic!("one binding") };
    assert!(!stored.contains("hunter2") && !stored.contains("topic"), "{stored}");
    let (version, rest) = stored.split_once(':').expect("a version");
    let (key, _) = rest.split_once(':').expect("a key");
    assert_eq!((version, key.len()), ("v1", 8), "{stored}");
    key.to_owned()
}

fn assert_nothing_in_clear(database: &Database) {
    for (name, bytes) in database.files() {
        assert!(!bytes.windows(7).any(|bytes| bytes == b"hunter2"), "{name} holds a secret");
    }
}

async fn secrets_are_stored_encrypted(database: Database) {
    let registry = Registry::start(&database).await;
    create(&registry).await;
    stored_key(&database).await;
    assert_nothing_in_clear(&database);
    registry.stop().await;
    assert_nothing_in_clear(&database);
    assert_eq!(held_params(&Registry::start(&database).await).await, [PARAMS]);
}

async fn keys_are_rotated(database: Database) {
    let (old, new) = (config(&database), Some(Secret::random()));
    let registry = Registry::start_as(old.clone()).await;
    let event = create(&registry).await;
    let old_key = stored_key(&database).await;
    registry.stop().await;

    let former_encryption_keys = old.encryption_key.clone().into_iter().collect();
    let rotating = Config { encryption_key: new.clone(), former_encryption_keys, ..old.clone() };
    let registry = Registry::start_as(rotating).await;
    assert_eq!(held_params(&registry).await, [PARAMS]);
    assert_ne!(stored_key(&database).await, old_key);
    registry.stop().await;

    let registry = Registry::start_as(Config { encryption_key: new, ..old }).await;
    let held = hold(&registry, &[]).await.bindings.remove(0).binding.expect("a binding");
    assert_eq!((held.id, &*held.params), (event.id, PARAMS), "the old key is not needed any more");
}

async fn what_was_stored_in_clear_is_encrypted(database: Database) {
    let registry = Registry::start(&database).await;
    create(&registry).await;
    registry.stop().await;
    store_params(&database, PARAMS).await;

    let without_key = Config { encryption_key: None, ..config(&database) };
    let registry = Registry::start_as(without_key).await;
    assert_eq!(held_params(&registry).await, [PARAMS], "it runs on without a key");
    registry.stop().await;
    assert_eq!(stored_params(&database).await, [PARAMS]);

    let registry = Registry::start(&database).await;
    stored_key(&database).await;
    assert_nothing_in_clear(&database);
    assert_eq!(held_params(&registry).await, [PARAMS]);
}

async fn what_cannot_be_read_stays_and_harms_nothing(database: Database) {
    let registry = Registry::start(&database).await;
    let event = create(&registry).await;
    registry.stop().await;
    let stored = stored_params(&database).await;

    for encryption_key in [Some(Secret::random()), None] {
        let registry = Registry::start_as(Config { encryption_key, ..config(&database) }).await;
        let held = hold(&registry, &[&event.id]).await;
        assert!(held.bindings.is_empty(), "it cannot run");
        assert!(held.removed.is_empty(), "and yet it exists");
        let get = GetFunctionRequest { module: "_".into(), name: "f".into() };
        let read = registry.functions().get_function(get).await.expect("it is there").into_inner();
        let read = read.function.expect("a function").events.remove(0);
        assert_eq!(read.id, event.id);
        assert!(read.params.contains("unreadable"), "{read:?}");
        registry.stop().await;
    }
    assert_eq!(stored_params(&database).await, stored);
    assert_eq!(held_params(&Registry::start(&database).await).await, [PARAMS]);
}
