//! The binaries of functions.

use mesh::Reason;
use mesh::hash::Hash;
use proto::registry::v1::code_store_client::CodeStoreClient;
use proto::registry::v1::{DeleteFunctionRequest, FetchCodeRequest, UpdateFunctionSpec};
use registry_svc::Config;

use crate::support::{
    Database, Registry, as_admin, config, contract, create_parts, failure, reason, refused, spec, wasm,
};

contract!(
    code_is_stored_once_and_deleted_when_unused,
    large_code_is_returned_unchanged,
    code_that_is_too_large_is_refused_while_it_streams,
    invalid_code_is_not_stored,
    memory_for_uploads_is_bounded,
    only_services_fetch_code,
);

async fn delete(registry: &Registry, name: &str) {
    let request = DeleteFunctionRequest { module: "_".into(), name: name.into() };
    registry.functions().delete_function(request).await.expect("deleted");
}

async fn code_is_stored_once_and_deleted_when_unused(database: Database) {
    let registry = Registry::start(&database).await;
    let (first, second) = (wasm("1"), wasm("2"));
    let (first_hash, second_hash) = (*Hash::of(&first).as_bytes(), *Hash::of(&second).as_bytes());
    registry.create(spec("_", "a"), &first).await.expect("created");
    registry.create(spec("_", "b"), &first).await.expect("created");
    registry.create(spec("_", "c"), &first).await.expect("created");
    assert_eq!(registry.fetch_code(&first_hash).await.expect("code"), first);

    delete(&registry, "a").await;
    assert_eq!(registry.fetch_code(&first_hash).await.expect("two functions use it"), first);
    let update = |name: &str| UpdateFunctionSpec {
        module: "_".into(),
        name: name.into(),
        ..UpdateFunctionSpec::default()
    };
    registry.update(update("b"), Some(&second)).await.expect("updated");
    assert_eq!(registry.fetch_code(&first_hash).await.expect("one function uses it"), first);
    registry.update(update("c"), Some(&first)).await.expect("updated with the same code");
    assert_eq!(registry.fetch_code(&first_hash).await.expect("one function uses it"), first);
    registry.update(update("c"), Some(&second)).await.expect("updated");
    assert_eq!(reason(registry.fetch_code(&first_hash).await), Reason::CodeNotFound);
    delete(&registry, "b").await;
    delete(&registry, "c").await;
    assert_eq!(reason(registry.fetch_code(&second_hash).await), Reason::CodeNotFound);
}

async fn large_code_is_returned_unchanged(database: Database) {
    let registry = Registry::start(&database).await;
    // Not a multiple of the chunk size, and all chunks differ.
    let text: String = (0..150_000).map(|number: u32| format!("{number:06}")).collect();
    let code = wasm(&text[1..]);
    registry.create(spec("_", "large"), &code).await.expect("created");
    assert!(registry.fetch_code(Hash::of(&code).as_bytes()).await.expect("code") == code);
}

async fn code_that_is_too_large_is_refused_while_it_streams(database: Database) {
    let registry = Registry::start_as(Config { max_code_bytes: 1 << 20, ..config(&database) }).await;
    let error = failure(registry.create(spec("_", "f"), &vec![0; (1 << 20) + 1]).await);
    assert_eq!(error.reason, Reason::TooLarge);
    assert!(error.message.contains("1048576"), "the error names the limit: {error}");
    let just_invalid = registry.create(spec("_", "f"), &vec![0; 1 << 20]).await;
    assert_eq!(refused(just_invalid)[0].0, "code", "the limit itself is not too large");
}

async fn invalid_code_is_not_stored(database: Database) {
    let registry = Registry::start(&database).await;
    let truncated = &wasm("1")[..40];
    let cases = [
        (&b"not wasm at all"[..], "is not WebAssembly"),
        (truncated, "is not valid WebAssembly"),
        (b"\0asm\x01\0\0\0", "exports neither `__invoke`"),
        (b"\0asm\x0d\0\x01\0", "components are not supported yet"),
    ];
    for (code, expected) in cases {
        let fields = refused(registry.create(spec("_", "f"), code).await);
        assert!(fields[0].0 == "code" && fields[0].1.contains(expected), "{fields:?}");
        assert_eq!(reason(registry.fetch_code(Hash::of(code).as_bytes()).await), Reason::CodeNotFound);
    }
}

async fn memory_for_uploads_is_bounded(database: Database) {
    let config = Config { max_code_bytes: 64 << 10, upload_memory_bytes: 64 << 10, ..config(&database) };
    let registry = Registry::start_as(config).await;
    let padded = wasm(&"x".repeat(40 << 10));
    let (sender, receiver) = tokio::sync::mpsc::channel(1);
    let mut client = registry.functions();
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    let slow = tokio::spawn(async move { client.create_function(stream).await });
    for part in create_parts(spec("_", "slow"), &padded) {
        sender.send(part).await.expect("the upload is running");
    }
    let taken = sender.reserve().await.expect("the upload is running");

    let second = registry.create(spec("_", "second"), &padded).await;
    assert_eq!(reason(second), Reason::Overloaded, "there is no memory for a second upload");
    registry.create(spec("_", "small"), &wasm("1")).await.expect("there is memory for a small upload");
    drop(taken);
    drop(sender);
    slow.await.expect("no panic").expect("the first upload succeeds");
    registry.create(spec("_", "second"), &padded).await.expect("the memory is free again");
}

async fn only_services_fetch_code(database: Database) {
    let registry = Registry::start(&database).await;
    registry.create(spec("_", "f"), &wasm("1")).await.expect("created");
    let request = FetchCodeRequest { hash: Hash::of(&wasm("1")).to_bytes() };
    let channel = mesh::testing::serve_local(&registry.host, &registry.service);
    let fetched = CodeStoreClient::new(channel).fetch_code(as_admin(request)).await;
    assert_eq!(reason(fetched.map(|_| ())), Reason::PermissionDenied);
    assert_eq!(refused(registry.fetch_code(b"short").await)[0].0, "hash");
    assert_eq!(reason(registry.fetch_code(&[0; 32]).await), Reason::CodeNotFound);
}
