//! HTTP requests of functions, against a real server.

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::routing::{any, get};
use mesh::Reason;
use mesh::testing::Served;

use crate::support::guests::funless;
use crate::support::{Worker, assert_failed, function_error, result};

/// Addresses in the guests: the dangling pointer, and two results.
const DANGLING: u32 = 1;
const LENGTH: u32 = 40_000;
const STATUS: u32 = 40_004;

async fn serve() -> Served {
    let echo = |method: Method, headers: HeaderMap, body: String| async move {
        let header = headers.get("x-header").map_or("none", |value| value.to_str().expect("text"));
        format!("\"{method} {header} {body}\"")
    };
    let router = Router::new()
        .route("/agent", get(|headers: HeaderMap| async move { format!("{:?}", headers["user-agent"]) }))
        .route("/echo", any(echo).layer(DefaultBodyLimit::disable()))
        .route("/json", get(|| async { "{\"a\":1}" }))
        .route("/large", get(|| async { "x".repeat(200_000) }))
        .route("/moved", get(|| async { axum::response::Redirect::temporary("/json") }))
        .fallback(|_: Request| async { (StatusCode::NOT_FOUND, "\"nothing\"") });
    Served::start(router).await
}

/// A function's call of `__http_request` with these parts at the start of its memory; then `after`.
pub fn requesting(method: u32, uri: &str, headers: &str, body: &str, after: &str) -> String {
    // Above what a response at the dangling pointer overwrites.
    let start = 2000;
    let data = format!("{}{uri}{headers}{body}", " ".repeat(start));
    let (uri_len, headers_len, body_len) = (uri.len(), headers.len(), body.len());
    let (headers_at, body_at) = (start + uri_len, start + uri_len + headers_len);
    funless(
        &data,
        &format!(
            "(call $http (i32.const {DANGLING}) (i32.const {LENGTH}) (i32.const {STATUS})
               (i32.const {method}) (i32.const {start}) (i32.const {uri_len})
               (i32.const {headers_at}) (i32.const {headers_len})
               (i32.const {body_at}) (i32.const {body_len}))
             {after}"
        ),
    )
}

/// Responds with the body that is at the dangling pointer.
fn respond_with_body() -> String {
    format!("(call $respond (i32.const {DANGLING}) (i32.load (i32.const {LENGTH}))) (i32.const 0)")
}

/// Returns the status, which shows in the error message.
pub fn return_status() -> String {
    format!("(i32.load16_u (i32.const {STATUS}))")
}

#[tokio::test]
async fn the_body_lands_at_the_dangling_pointer_of_the_sdk() {
    let (worker, server) = (Worker::start().await, serve().await);
    let get = |path: &str| requesting(0, &format!("{}{path}", server.endpoint), "", "", &respond_with_body());
    assert_eq!(worker.run(&get("/json"), "").await, result("{\"a\":1}"));
    assert_eq!(worker.run(&get("/moved"), "").await, result("{\"a\":1}"), "redirects are followed");
}

#[tokio::test]
async fn methods_headers_and_bodies() {
    let (worker, server) = (Worker::start().await, serve().await);
    let uri = format!("{}/echo", server.endpoint);
    let headers = "Accept: */*\nX-Header:a:b:c";
    for (number, method) in [(0, "GET"), (1, "POST"), (2, "PUT"), (3, "DELETE")] {
        let wat = requesting(number, &uri, headers, "body", &respond_with_body());
        assert_eq!(worker.run(&wat, "").await, result(&format!("\"{method} a:b:c body\"")));
    }
}

#[tokio::test]
async fn more_methods_when_the_guest_gets_the_length_first() {
    let (worker, server) = (Worker::start().await, serve().await);
    let uri = format!("{}/echo", server.endpoint);
    let send = |method: i32, then: &str| {
        let body = format!(
            "(local $length i32)
             (local.set $length (call $send (i32.const {STATUS}) (i32.const {method}) (i32.const 0) (i32.const {})
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))
             {then}",
            uri.len()
        );
        funless(&uri, &body)
    };
    let respond = "(drop (call $read (i32.const 1000) (local.get $length)))
         (call $respond (i32.const 1000) (local.get $length))
         (i32.const 0)";
    for (number, method) in [(0, "GET"), (3, "DELETE"), (4, "PATCH"), (6, "OPTIONS")] {
        let expected = result(&format!("\"{method} none \""));
        assert_eq!(worker.run(&send(number, respond), "").await, expected);
    }
    let head = send(5, &format!("(if (local.get $length) (then unreachable)) {}", return_status()));
    assert_failed(worker.run(&head, "").await, Reason::GuestExited, "returned 200,");
    for number in [7, -1] {
        let words = format!("__http_send was given the unknown method {number};");
        assert_failed(worker.run(&send(number, respond), "").await, Reason::GuestTrapped, &words);
    }
}

#[tokio::test]
async fn requests_have_a_user_agent_unless_the_guest_sets_one() {
    let (worker, server) = (Worker::start().await, serve().await);
    let uri = format!("{}/agent", server.endpoint);
    let ours = format!("\"funless-mesh/{}\"", env!("CARGO_PKG_VERSION"));
    for (headers, expected) in [("", ours.as_str()), ("user-Agent:mine/1.0", "\"mine/1.0\"")] {
        let wat = requesting(0, &uri, headers, "", &respond_with_body());
        assert_eq!(worker.run(&wat, "").await, result(expected));
    }
}

#[tokio::test]
async fn statuses() {
    let (worker, server) = (Worker::start().await, serve().await);
    let get = |path: &str| requesting(0, &format!("{}{path}", server.endpoint), "", "", &return_status());
    assert_failed(worker.run(&get("/json"), "").await, Reason::GuestExited, "returned 200,");
    assert_failed(worker.run(&get("/missing"), "").await, Reason::GuestExited, "returned 404,");
}

#[tokio::test]
async fn a_failed_request_has_status_0_and_no_body() {
    let worker = Worker::start().await;
    // Traps unless status and length are set to 0.
    let cleared = |wat: String| {
        let set = format!("(i64.store (i32.const {LENGTH}) (i64.const -1)) (call $http");
        wat.replacen("(call $http", &set, 1)
    };
    let check = format!(
        "(if (i32.or (i32.load (i32.const {LENGTH})) (i32.load16_u (i32.const {STATUS}))) (then unreachable))
         (call $fail (i32.const 0) (i32.const 0)) (i32.const 1)"
    );
    let refused = format!("http://127.0.0.1:{}", free_port().await);
    for (uri, headers) in [
        (refused.as_str(), ""),
        ("http://127.0.0.1:9/", "no header"),
        ("not a URI", ""),
        ("file:///etc/passwd", ""),
        ("http://[fe80::1%25lo]/", ""),
        ("http://[::1%lo]/", ""),
        ("", ""),
    ] {
        let wat = cleared(requesting(0, uri, headers, "", &check));
        assert_eq!(worker.run(&wat, "").await, function_error(""), "{uri:?}");
    }
}

/// A port that nothing listens on.
async fn free_port() -> u16 {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    listener.local_addr().expect("bound").port()
}

#[tokio::test]
async fn a_body_out_of_bounds_traps_and_one_over_the_limit_fails() {
    let server = serve().await;
    let uri = format!("{}/large", server.endpoint);
    let wat = requesting(0, &uri, "", "", &respond_with_body());
    let words = "__http_request was given a buffer for the response out of bounds: 200000 bytes at address 1";
    assert_failed(Worker::start().await.run(&wat, "").await, Reason::GuestTrapped, words);

    let strict = Worker::start_with(|config| config.http_body_bytes = 1000).await;
    let wat = requesting(0, &uri, "", "", "(call $fail (i32.const 0) (i32.const 0)) (i32.const 1)");
    assert_eq!(strict.run(&wat, "").await, function_error(""));
}

#[tokio::test]
async fn every_pointer_is_checked_before_a_request_is_sent() {
    let worker = Worker::start().await;
    let good = ["1", "40000", "40004", "0", "0", "1", "0", "0", "0", "0"];
    let cases = [
        (1, "-2", "a buffer for the response's length"),
        (2, "131071", "a buffer for the status"),
        (3, "4", "the unknown method 4"),
        (4, "-1", "the URI"),
        (5, "-1", "the URI"),
        (6, "131073", "the headers"),
        (7, "-1", "the headers"),
        (8, "-1", "the body"),
        (9, "131073", "the body"),
    ];
    for (position, value, words) in cases {
        let mut values = good;
        values[position] = value;
        let arguments: String = values.iter().map(|value| format!("(i32.const {value})")).collect();
        let wat = funless("", &format!("(call $http {arguments}) (i32.const 0)"));
        assert_failed(worker.run(&wat, "").await, Reason::GuestTrapped, words);
    }
}

#[tokio::test]
async fn a_guest_gets_the_length_first_and_then_reads() {
    let (worker, server) = (Worker::start().await, serve().await);
    let uri = format!("{}/json", server.endpoint);
    let send = |uri: &str| {
        format!(
            "(local $total i32) (local $at i32) (local $count i32)
             (local.set $total (call $send (i32.const {STATUS}) (i32.const 0) (i32.const 0) (i32.const {})
               (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)))",
            uri.len()
        )
    };
    // Reads three bytes at a time, until there are none.
    let read = "(loop $again
           (local.set $count (call $read (i32.add (i32.const 1000) (local.get $at)) (i32.const 3)))
           (local.set $at (i32.add (local.get $at) (local.get $count)))
           (br_if $again (local.get $count)))
         (if (i32.ne (local.get $at) (local.get $total)) (then unreachable))
         (call $respond (i32.const 1000) (local.get $at))
         (i32.const 0)";
    let wat = funless(&uri, &format!("{} {read}", send(&uri)));
    assert_eq!(worker.run(&wat, "").await, result("{\"a\":1}"));

    let refused = format!("http://127.0.0.1:{}", free_port().await);
    let wat = funless(&refused, &format!("{} (local.get $total)", send(&refused)));
    assert_failed(worker.run(&wat, "").await, Reason::GuestExited, "the function returned -1,");
}
