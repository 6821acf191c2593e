//! Encryption of bindings' parameters in the database.

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
    plaintext_params_are_encrypted_at_startup,
    unreadable_params_are_kept_and_do_no_harm,
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
        ..HoldBindingsRequest::default()
    };
    registry.hold(request).await.expect("held")
}

/// The parameters of the held bindings.
async fn held_params(registry: &Registry) -> Vec<String> {
    let held = hold(registry, &[]).await.bindings;
    held.into_iter().filter_map(|held| Some(held.binding?.params)).collect()
}

/// The id of the key that encrypts the only binding.
async fn stored_key(database: &Database) -> String {
    let [stored] = &stored_params(database).await[..] else { panic!("expected one binding") };
    assert!(!stored.contains("hunter2") && !stored.contains("topic"), "{stored}");
    let (version, rest) = stored.split_once(':').expect("a version");
    let (key, _) = rest.split_once(':').expect("a key");
    assert_eq!((version, key.len()), ("v1", 8), "{stored}");
    key.to_owned()
}

fn assert_no_plaintext(database: &Database) {
    for (name, bytes) in database.files() {
        assert!(!bytes.windows(7).any(|bytes| bytes == b"hunter2"), "{name} contains a secret");
    }
}

async fn secrets_are_stored_encrypted(database: Database) {
    let registry = Registry::start(&database).await;
    create(&registry).await;
    stored_key(&database).await;
    assert_no_plaintext(&database);
    registry.stop().await;
    assert_no_plaintext(&database);
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

async fn plaintext_params_are_encrypted_at_startup(database: Database) {
    let registry = Registry::start(&database).await;
    create(&registry).await;
    registry.stop().await;
    store_params(&database, PARAMS).await;

    let without_key = Config { encryption_key: None, ..config(&database) };
    let registry = Registry::start_as(without_key).await;
    assert_eq!(held_params(&registry).await, [PARAMS], "it still runs without a key");
    registry.stop().await;
    assert_eq!(stored_params(&database).await, [PARAMS]);

    let registry = Registry::start(&database).await;
    stored_key(&database).await;
    assert_no_plaintext(&database);
    assert_eq!(held_params(&registry).await, [PARAMS]);
}

async fn unreadable_params_are_kept_and_do_no_harm(database: Database) {
    let registry = Registry::start(&database).await;
    let event = create(&registry).await;
    registry.stop().await;
    let stored = stored_params(&database).await;

    for encryption_key in [Some(Secret::random()), None] {
        let registry = Registry::start_as(Config { encryption_key, ..config(&database) }).await;
        let held = hold(&registry, &[&event.id]).await;
        assert!(held.bindings.is_empty(), "an unreadable binding does not run");
        assert!(held.removed.is_empty(), "the binding still exists");
        let get = GetFunctionRequest { module: "_".into(), name: "f".into() };
        let read = registry.functions().get_function(get).await.expect("the function exists").into_inner();
        let read = read.function.expect("a function").events.remove(0);
        assert_eq!(read.id, event.id);
        assert!(read.params.contains("unreadable"), "{read:?}");
        registry.stop().await;
    }
    assert_eq!(stored_params(&database).await, stored);
    assert_eq!(held_params(&Registry::start(&database).await).await, [PARAMS]);
}
