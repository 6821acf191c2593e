//! The host of native tests: it keeps the log, and has a function of the test that responds to HTTP requests.

use std::cell::RefCell;
use std::rc::Rc;

use crate::http::{Request, Response};

/// Responds to a request, or does not.
pub(crate) type Responder = dyn Fn(&Request) -> Option<Response>;

thread_local! {
    static CURRENT: RefCell<Option<Current>> = const { RefCell::new(None) };
}

/// The host of what runs on this thread.
#[derive(Default)]
pub(crate) struct Current {
    log: Vec<String>,
    responder: Option<Rc<Responder>>,
}

impl Current {
    /// A host with this responder.
    pub(crate) fn new(responder: Option<Rc<Responder>>) -> Self {
        Self { log: Vec::new(), responder }
    }

    /// Calls `f` on this host. Returns its result and the lines of the log.
    pub(crate) fn run<T>(self, f: impl FnOnce() -> T) -> (T, Vec<String>) {
        let mut outer = Outer(CURRENT.replace(Some(self)));
        let result = f();
        let this = CURRENT.replace(outer.0.take());
        (result, this.map(|current| current.log).unwrap_or_default())
    }
}

/// The host that was there before, which is there again after a panic.
struct Outer(Option<Current>);

impl Drop for Outer {
    fn drop(&mut self) {
        if std::thread::panicking() {
            CURRENT.set(self.0.take());
        }
    }
}

/// Writes to the log of the current host, if there is one.
pub(crate) fn log_line(message: &str) {
    CURRENT.with_borrow_mut(|current| {
        if let Some(current) = current {
            // As FunLess does.
            let lines = message.split('\n').map(str::trim_ascii_end).filter(|line| !line.is_empty());
            current.log.extend(lines.map(str::to_owned));
        }
    });
}

/// The response of the current host.
pub(crate) fn send(request: &Request) -> Option<Response> {
    let responder = CURRENT.with_borrow(|current| current.as_ref()?.responder.clone());
    let Some(responder) = responder else {
        panic!(
            "{} {} was sent outside of FunLess; funless::testing::Host::http sets how tests respond",
            request.method, request.url
        )
    };
    let response = responder(request);
    if response.is_none() {
        log_line("HTTP request failed: the test did not respond");
    }
    response
}

/// The response of the current host, which has at most `max_bytes`.
pub(crate) fn send_within(request: &Request, max_bytes: usize) -> Option<Response> {
    let response = send(request);
    let length = response.as_ref().map_or(0, |response| response.body.len());
    assert!(length <= max_bytes, "the response has {length} bytes; the limit of the request is {max_bytes}");
    response
}
