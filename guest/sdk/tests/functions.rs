//! Functions as authors write them.
#![allow(missing_docs)]

use std::collections::BTreeMap;
use std::fmt;

use funless::http::{self, Method, Request, Response};
use funless::serde_json::{Value, json};
use funless::testing::Host;
use funless::{Error, Function};
use serde::{Deserialize, Serialize};

#[derive(Deserialize)]
struct Borrowed<'a> {
    text: &'a str,
}

/// It can be displayed, and serialised, but is an error.
#[derive(Serialize)]
struct Refused(&'static str);

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ending = if f.alternate() { ": because" } else { "" };
        write!(f, "refused {}{ending}", self.0)
    }
}

#[funless::function]
fn nothing() {}

#[funless::function]
fn constant() -> u8 {
    7
}

#[funless::function]
fn doubled(number: u32) -> u32 {
    number * 2
}

#[funless::function]
fn length(text: &str) -> usize {
    text.len()
}

#[funless::function]
fn borrowed(arguments: Borrowed<'_>) -> String {
    arguments.text.to_uppercase()
}

#[funless::function]
fn pair((a, mut b): (i64, i64)) -> Option<i64> {
    b += a;
    (b > 0).then_some(b)
}

#[funless::function]
fn refuses(what: Value) -> Result<Value, Refused> {
    if what.is_null() { Err(Refused("null")) } else { Ok(what) }
}

#[funless::function]
fn parses(text: String) -> Result<i32, Error> {
    Ok(text.parse()?)
}

#[funless::function]
fn text_error() -> Result<(), &'static str> {
    Err("no tea")
}

#[funless::function]
fn not_json() -> BTreeMap<(u8, u8), u8> {
    BTreeMap::from([((1, 2), 3)])
}

#[funless::function]
fn anything() -> impl Serialize {
    [1, 2]
}

#[track_caller]
fn check<F: Function>(arguments: Value, expected: Result<Value, &str>) {
    let invocation = Host::new().invoke::<F>(&arguments);
    assert_eq!(invocation.result, expected.map_err(str::to_owned), "{arguments}");
    assert_eq!(invocation.log, [""; 0]);
}

#[test]
fn results_and_errors() {
    check::<nothing>(json!({ "ignored": 1 }), Ok(Value::Null));
    check::<constant>(json!({}), Ok(json!(7)));
    check::<doubled>(json!(21), Ok(json!(42)));
    check::<doubled>(
        json!("21"),
        Err("invalid arguments: invalid type: string \"21\", expected u32 at line 1 column 4"),
    );
    check::<length>(json!("abc"), Ok(json!(3)));
    check::<borrowed>(json!({ "text": "abc", "more": 1 }), Ok(json!("ABC")));
    check::<borrowed>(json!({}), Err("invalid arguments: missing field `text` at line 1 column 1"));
    check::<pair>(json!([1, 2]), Ok(json!(3)));
    check::<pair>(json!([1, -2]), Ok(Value::Null));
    check::<refuses>(json!([1.5]), Ok(json!([1.5])));
    check::<refuses>(Value::Null, Err("refused null: because"));
    check::<parses>(json!("12"), Ok(json!(12)));
    check::<parses>(json!("x"), Err("invalid digit found in string"));
    check::<text_error>(json!({}), Err("no tea"));
    check::<not_json>(json!({}), Err("the result cannot be represented as JSON: key must be a string"));
    check::<anything>(json!({}), Ok(json!([1, 2])));
    assert_eq!(doubled(2), 4, "it can be called as it is");
}

#[funless::function]
fn logs(level: String) -> Result<(), Error> {
    log::set_max_level(level.parse()?);
    log::error!("an error");
    log::info!("two\nlines\n");
    log::debug!("a detail");
    Ok(())
}

// The level is global: one test has all cases.
#[test]
fn logs_have_levels() {
    let cases = [
        ("error", &["ERROR an error"][..]),
        ("info", &["ERROR an error", "INFO two", "lines"]),
        ("debug", &["ERROR an error", "INFO two", "lines", "DEBUG a detail"]),
    ];
    for (level, expected) in cases {
        assert_eq!(Host::new().invoke::<logs>(level).log, expected, "{level}");
    }
    let (result, log) = Host::new().run(|| logs("info".into()));
    assert!(result.is_ok() && log.len() == 3, "{log:?}");
}

#[funless::function]
fn forward(url: String) -> Result<Vec<u8>, http::Error> {
    let request = Request::new(Method::Patch, url).header("X-A", "1").json(&json!({ "a": 1 }))?;
    Ok(request.send()?.body)
}

#[test]
fn requests_reach_the_responder() {
    let host = Host::new().http(|request| {
        assert_eq!((request.method, &*request.body), (Method::Patch, &b"{\"a\":1}"[..]));
        let headers: Vec<_> = request.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
        assert_eq!(headers, [("X-A", "1"), ("Content-Type", "application/json")]);
        (request.url == "http://a/").then(|| Response::new(500, [0xff, 0]))
    });
    assert_eq!(host.invoke::<forward>("http://a/").result, Ok(json!([255, 0])));
    let failed = host.invoke::<forward>("http://b/");
    assert_eq!(failed.result, Err("PATCH http://b/: no response; the function's log says why".into()));
    assert_eq!(failed.log, ["HTTP request failed: the test did not respond"]);
}

#[test]
fn requests_that_are_not_sent() {
    let host = Host::new().http(|_| panic!("it must not be sent"));
    let error = |request: Request, within: Option<usize>| {
        let send = || within.map_or_else(|| request.send(), |most| request.send_within(most));
        host.run(send).0.expect_err("not sent").to_string()
    };
    let injected = error(Request::get("http://a/").header("A", "1\nB:2"), None);
    assert!(injected.starts_with("\"A\" with \"1\\nB:2\" is not a header"), "{injected}");
    assert_eq!(injected, error(Request::get("http://a/").header("A", "1\nB:2"), Some(9)));
    let unpublished = error(Request::new(Method::Head, "http://a/"), Some(9));
    assert_eq!(unpublished, "HEAD cannot be sent in this way; expected GET, POST, PUT or DELETE");
}

#[test]
fn responses_are_within_their_limit() {
    let host = Host::new().http(|_| Some(Response::new(200, "12345")));
    let body = |most| host.run(|| Request::get("http://a/").send_within(most)).0.expect("a response").body;
    assert_eq!(body(5), b"12345");
    let too_large = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| body(4)));
    assert!(too_large.is_err());
    assert_eq!(body(6), b"12345", "the host works after a panic");
}

#[test]
#[should_panic(expected = "GET http://a/ was sent outside of FunLess; funless::testing::Host::http sets")]
fn requests_need_a_responder() {
    let _ = Host::new().run(|| Request::get("http://a/").send());
}
