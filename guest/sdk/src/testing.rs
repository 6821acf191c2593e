//! Runs functions in native tests, with `cargo test`.
//!
//! A function remains callable as it is. A [`Host`] is needed for those that send HTTP requests, and to see what a
//! function logs and what its callers get.
//!
//! ```
//! use funless::http::{Request, Response};
//! use funless::serde_json::json;
//! use funless::testing::Host;
//!
//! #[funless::function]
//! fn temperature(city: String) -> Result<f64, funless::Error> {
//!     let response = Request::get(format!("http://weather.example/{city}")).send()?;
//!     log::info!("status {}", response.status);
//!     Ok(response.json()?)
//! }
//!
//! let host = Host::new().http(|request| {
//!     assert_eq!(request.url, "http://weather.example/Bologna");
//!     Some(Response::new(200, "21.5"))
//! });
//! let invocation = host.invoke::<temperature>("Bologna");
//! assert_eq!(invocation.result, Ok(json!(21.5)));
//! assert_eq!(invocation.log, ["INFO status 200"]);
//! ```

use std::rc::Rc;
use std::sync::OnceLock;

use serde::Serialize;
use serde_json::Value;

use crate::Function;
use crate::host::{Current, Responder};
use crate::http::{Request, Response};
use crate::logger;

/// A host in memory. It runs functions on the thread of the test.
#[derive(Default, Clone)]
pub struct Host {
    responder: Option<Rc<Responder>>,
}

/// One run of a function.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Invocation {
    /// The result, or the message of the error.
    pub result: Result<Value, String>,
    /// The lines of the log.
    pub log: Vec<String>,
}

impl Host {
    /// A host on which functions cannot send HTTP requests.
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how HTTP requests are responded to. `None` is a request that fails.
    #[must_use]
    pub fn http(mut self, respond: impl Fn(&Request) -> Option<Response> + 'static) -> Self {
        self.responder = Some(Rc::new(respond));
        self
    }

    /// Invokes a function as FunLess does: arguments and result are JSON.
    ///
    /// # Panics
    /// If the function does, if it sends a request and the host has no [`http`](Self::http), if the arguments
    /// cannot be represented as JSON, or if the program has another logger.
    #[track_caller]
    pub fn invoke<F: Function>(&self, arguments: impl Serialize) -> Invocation {
        let arguments = serde_json::to_vec(&arguments).expect("the arguments can be represented as JSON");
        let (result, log) = self.run(|| F::call(&arguments));
        let result = result.map(|json| serde_json::from_slice(&json).expect("a response is JSON"));
        Invocation { result, log }
    }

    /// Calls `f`, which calls functions. Returns its result and the lines of the log.
    ///
    /// # Panics
    /// If `f` does, or as [`invoke`](Self::invoke).
    #[track_caller]
    pub fn run<T>(&self, f: impl FnOnce() -> T) -> (T, Vec<String>) {
        static INSTALLED: OnceLock<bool> = OnceLock::new();
        let installed = *INSTALLED.get_or_init(logger::install);
        assert!(installed, "funless::testing needs to install its logger, and there is another one");
        Current::new(self.responder.clone()).run(f)
    }
}
