//! The binaries of functions.

use mesh::Reason;
use mesh::hash::Hash;
use proto::registry::v1::code_store_client::CodeStoreClient;
use proto::registry::v1::{
    CreateFunctionSpec, DeleteFunctionRequest, FetchCodeRequest, Limits, UpdateFunctionSpec,
};
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
    code_that_is_too_complex_to_compile_is_refused,
    code_that_needs_more_memory_than_it_gets_is_refused,
    the_memory_of_stored_code_is_found_behind_long_sections,
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

async fn code_that_is_too_complex_to_compile_is_refused(database: Database) {
    let registry = Registry::start(&database).await;
    // A hundred loops inside each other, the innermost of which changes a thousand locals: 13 KB.
    let changes: String =
        (1..=1000).map(|local| format!("(local.set {local} (local.get {local}))")).collect();
    let bomb = format!(
        r#"(module (memory (export "memory") 1)
            (func (export "__invoke") (param i32) (result i32) (local {}) {} {changes} {} (i32.const 0)))"#,
        "i32 ".repeat(1000),
        "(loop ".repeat(100),
        "(br_if 0 (local.get 0)))".repeat(100),
    );
    let bomb = wat::parse_str(bomb).expect("valid WebAssembly");
    registry.create(spec("_", "f"), &wasm("1")).await.expect("created");
    let update = UpdateFunctionSpec { module: "_".into(), name: "f".into(), ..UpdateFunctionSpec::default() };
    let refusals = [
        refused(registry.create(spec("_", "g"), &bomb).await),
        refused(registry.update(update, Some(&bomb)).await),
    ];
    for fields in refusals {
        let expected = "is too complex to compile: function 0 has 100200100 units of estimated compilation cost; \
                        the limit is 20000000";
        assert_eq!(fields, [("code".to_owned(), expected.to_owned())]);
    }
    assert_eq!(reason(registry.fetch_code(Hash::of(&bomb).as_bytes()).await), Reason::CodeNotFound);
}

async fn code_that_needs_more_memory_than_it_gets_is_refused(database: Database) {
    const PAGE: u64 = 64 << 10;
    let registry = Registry::start_as(Config { max_memory_bytes: 10 * PAGE, ..config(&database) }).await;
    let pages = |pages: u64| {
        let entry = r#"(func (export "__invoke") (param i32) (result i32) (i32.const 0))"#;
        wat::parse_str(format!(r#"(module (memory (export "memory") {pages}) {entry})"#))
            .expect("valid WebAssembly")
    };
    let limited = |name: &str, memory_bytes| CreateFunctionSpec {
        limits: Some(Limits { memory_bytes, ..Limits::default() }),
        ..spec("_", name)
    };
    let cases = [
        (0, 10, None),
        (0, 11, Some("720896 bytes; the limit is 655360, `max_memory_bytes` of the registry")),
        (3 * PAGE, 3, None),
        (3 * PAGE - 1, 3, Some("196608 bytes; the limit is 196607, the function's `memory_bytes`")),
        (20 * PAGE, 11, Some("720896 bytes; the limit is 655360, `max_memory_bytes` of the registry")),
    ];
    for (number, (limit, needed, expected)) in cases.into_iter().enumerate() {
        let created = registry.create(limited(&format!("f{number}"), limit), &pages(needed)).await;
        match expected {
            None => drop(created.expect("created")),
            Some(expected) => {
                let message = format!("can never run: its memory begins with {expected}");
                assert_eq!(refused(created), [("code".to_owned(), message)]);
            }
        }
    }
    // An update is checked against the limits that it sets, or else against the present ones.
    let update = |memory_bytes: Option<u64>| UpdateFunctionSpec {
        module: "_".into(),
        name: "f2".into(),
        limits: memory_bytes.map(|memory_bytes| Limits { memory_bytes, ..Limits::default() }),
        ..UpdateFunctionSpec::default()
    };
    assert_eq!(refused(registry.update(update(None), Some(&pages(4))).await)[0].0, "code");
    registry.update(update(Some(4 * PAGE)), Some(&pages(4))).await.expect("updated");
    // Limits alone are checked against the stored code.
    let refusal = refused(registry.update(update(Some(4 * PAGE - 1)), None).await);
    let message = "is too low: the memory of the code begins with 262144 bytes; the limit is 262143, the function's \
                   `memory_bytes`";
    assert_eq!(refusal, [("memory_bytes".to_owned(), message.to_owned())]);
    for enough in [4 * PAGE, 20 * PAGE, 0] {
        registry.update(update(Some(enough)), None).await.expect("updated");
    }
}

async fn the_memory_of_stored_code_is_found_behind_long_sections(database: Database) {
    let registry = Registry::start_as(config(&database)).await;
    let plain = wat::parse_str(
        r#"(module (memory (export "memory") 3) (func (export "__invoke") (param i32) (result i32) (i32.const 0)))"#,
    )
    .expect("valid WebAssembly");
    // Stored in chunks of 256 KiB: the section of the memory begins around the end of the first one, or later.
    for (number, len) in (262_100..262_150).chain([1 << 20]).enumerate() {
        let custom = [&[0][..], &leb(len), &[0], &vec![0; len as usize - 1]].concat();
        let code = [&plain[..8], &custom, &plain[8..]].concat();
        let name = format!("f{number}");
        registry.create(spec("_", &name), &code).await.expect("created");
        let update = |memory_bytes| UpdateFunctionSpec {
            module: "_".into(),
            name: name.clone(),
            limits: Some(Limits { memory_bytes, ..Limits::default() }),
            ..UpdateFunctionSpec::default()
        };
        registry.update(update(3 << 16), None).await.expect("updated");
        let refusal = refused(registry.update(update((3 << 16) - 1), None).await);
        assert!(refusal[0].1.contains("begins with 196608 bytes"), "{len}: {refusal:?}");
    }
}

/// A number as WebAssembly writes it.
fn leb(mut number: u32) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}
