//! Hostile guests and uploads.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use futures::future::join_all;
use http::Method;
use reqwest::multipart::{Form, Part};
use serde_json::json;
use tests::client::Upload;
use tests::{Client, Mesh, grpc, guests};

pub async fn guests_end_with_their_own_errors(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("hostile").await;
    let cases: [(&str, Vec<u8>, &str); 13] = [
        ("traps", guests::trapping(), "unreachable"),
        ("recurses", guests::recursing(), "stack"),
        ("eats_memory", guests::memory_hungry(), "memory"),
        ("responds_from_nowhere", guests::responding_from_nowhere(0x7fff_0000, 100), "memory"),
        ("responds_across_the_end", guests::responding_from_nowhere(65_530, 100), "memory"),
        ("wraps_around", guests::responding_from_nowhere(-1, -1), "memory"),
        ("reads_to_nowhere", guests::reading_to_nowhere(), "memory"),
        (
            "says_no_json",
            guests::responding(b"not json"),
            "is not valid JSON: expected ident at line 1 column 2 in \"not json\"",
        ),
        ("says_half_a_json", guests::responding(br#"{"a":"#), "JSON"),
        ("says_no_utf8", guests::responding(b"\"\xff\xfe\""), "UTF-8"),
        ("says_nothing", guests::returning(0), "response"),
        ("returns_2", guests::returning(2), "2"),
        ("says_10_mib", guests::answering_much(10), "output"),
    ];
    for (name, code, word) in cases {
        user.create_function("hostile", name, &code).await;
        let detail = user.invoke("hostile", name, json!({})).await.expect(500).detail();
        assert!(detail.starts_with("Something went wrong: "), "{name}: {detail}");
        assert!(detail.contains(word), "{name}: {detail:?} does not contain {word:?}");
    }
    // A large response below the limit is allowed.
    user.create_function("hostile", "says_5_mib", &guests::answering_much(5)).await;
    let large = user.invoke("hostile", "says_5_mib", json!({})).await.expect(200);
    assert_eq!(large.text.len(), (5 << 20) + r#"{"data":}"#.len());
    assert_mesh_works(&user, "hostile").await;
    user.delete("/v1/fn/hostile").await.expect(204);
}

pub async fn a_spinning_guest_ends_at_its_limit(mesh: &Mesh) {
    const LIMIT: Duration = Duration::from_millis(300);
    mesh.user().create_module("spin").await;
    let (spinning, at_start) = (guests::spinning(), guests::spinning_at_start());
    grpc::create_function_limited(mesh, "spin", "at_start", &at_start, LIMIT).await;
    let user = grpc::create_function_limited(mesh, "spin", "f", &spinning, LIMIT).await;
    for name in ["f", "at_start"] {
        let start = Instant::now();
        let answer = user.invoke("spin", name, json!({})).await.expect(504);
        assert!(!answer.detail().is_empty());
        assert!(start.elapsed() < 10 * LIMIT, "{name} took {:?}", start.elapsed());
    }
    // More spinning guests than the machine has cores do not block others.
    let spinning = (0..16).map(|_| user.invoke("spin", "f", json!({})));
    let (spun, ()) = tokio::join!(join_all(spinning), assert_mesh_works(&user, "spin"));
    assert!(spun.iter().all(|answer| answer.status == 504), "{spun:?}");
    user.delete("/v1/fn/spin").await.expect(204);
}

pub async fn binaries_that_cannot_run_are_refused(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("refused").await;
    let hello = guests::hello();
    // Pseudo-random but fixed, so that failures are reproducible.
    let noise: Vec<u8> = (0..5000_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let framed = [b"\0asm\x01\0\0\0".as_slice(), &noise].concat();
    let cases: [(&str, Vec<u8>, &str); 10] = [
        ("cut", hello[..hello.len() / 2].to_vec(), ""),
        ("cut_at_the_header", hello[..6].to_vec(), ""),
        ("noise", noise, "not WebAssembly"),
        ("framed_noise", framed, ""),
        ("text", b"(module)".to_vec(), "not WebAssembly"),
        ("no_exports", guests::without_exports(), "__invoke"),
        ("unknown_import", guests::importing_the_unknown(), "__launch_missiles"),
        ("empty", Vec::new(), "can't be blank"),
        ("born_too_large", guests::born_too_large(), "4294967296 bytes; the limit is 134217728"),
        ("compiler_bomb", guests::compiler_bomb(), "too complex to compile"),
    ];
    for (name, code, word) in cases {
        let answer = user.post_form("/v1/fn/refused", Upload::function(name, &code)).await.expect(422);
        let messages = answer.json()["errors"]["code"].to_string();
        assert!(messages.contains(word) && messages != "null", "{name}: {messages}");
        user.get(&format!("/v1/fn/refused/{name}")).await.expect(404);
    }
    // A refused update leaves the function unchanged.
    user.create_function("refused", "f", &guests::responding(b"1")).await;
    user.put_form("/v1/fn/refused/f", Upload::function("f", b"no wasm")).await.expect(422);
    assert_eq!(user.result("refused", "f", json!({})).await, json!(1));
    user.delete("/v1/fn/refused").await.expect(204);
}

/// Uploads 65 MiB; the limit is 64 MiB.
pub async fn uploads_are_bounded_while_they_stream(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("bounded").await;
    let header = futures::stream::once(async { b"\0asm\x01\0\0\0".to_vec() });
    let rest = futures::stream::iter(std::iter::repeat_n(vec![0_u8; 1 << 20], 65));
    let body = header.chain(rest).map(Ok::<_, std::io::Error>);
    let code = Part::stream(reqwest::Body::wrap_stream(body)).file_name("code.wasm");
    let form = Form::new().text("name", "f").part("code", code);
    let answer = user.send(user.request(Method::POST, "/v1/fn/bounded").multipart(form)).await.expect(413);
    assert!(!answer.detail().is_empty());
    user.get("/v1/fn/bounded/f").await.expect(404);
    assert_mesh_works(&user, "bounded").await;
    user.delete("/v1/fn/bounded").await.expect(204);
}

/// Runs all hostile guests concurrently with a good one.
pub async fn hostile_guests_do_not_disturb_others(mesh: &Mesh) {
    let user = mesh.user();
    user.create_module("crowd").await;
    let hostile = [
        guests::trapping(),
        guests::recursing(),
        guests::memory_hungry(),
        guests::reading_to_nowhere(),
        guests::answering_much(10),
    ];
    for (number, code) in hostile.iter().enumerate() {
        user.create_function("crowd", &format!("f{number}"), code).await;
    }
    user.create_function("crowd", "good", &guests::counting()).await;
    for _ in 0..5 {
        let names: Vec<_> = (0..hostile.len()).map(|number| format!("f{number}")).collect();
        let bad = names.iter().map(|name| user.invoke("crowd", name, json!({})));
        let good = (0..10).map(|_| user.result("crowd", "good", json!({})));
        let (bad, good) = tokio::join!(join_all(bad), join_all(good));
        assert!(bad.iter().all(|answer| answer.status == 500), "{bad:?}");
        assert!(good.iter().all(|result| *result == 1), "{good:?}");
    }
    user.delete("/v1/fn/crowd").await.expect(204);
}

async fn assert_mesh_works(user: &Client, module: &str) {
    user.create_function(module, "well", &guests::hello()).await;
    let answer = user.result(module, "well", json!({ "name": "still" })).await;
    assert_eq!(answer, json!({ "payload": "Hello still!" }));
}
