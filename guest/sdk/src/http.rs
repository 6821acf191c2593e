//! HTTP requests.
//!
//! ```no_run
//! # fn f() -> Result<(), funless::Error> {
//! use funless::http::{Method, Request};
//! use funless::serde_json::{Value, json};
//!
//! let orders: Value = Request::get("https://shop.example/orders").send()?.json()?;
//!
//! let response = Request::new(Method::Put, "https://shop.example/orders/7")
//!     .header("Authorization", "Bearer secret")
//!     .json(&json!({ "state": "paid", "of": orders }))?
//!     .send()?;
//! if !response.is_success() {
//!     return Err(funless::Error::new(format!("status {}", response.status)));
//! }
//! # Ok(()) }
//! ```
//!
//! The platform's egress policy decides which addresses a function reaches. It follows redirects, and limits how
//! long a request takes and how large a response is.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::{host, json};

/// The method of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Method {
    /// GET.
    Get,
    /// POST.
    Post,
    /// PUT.
    Put,
    /// DELETE.
    Delete,
    /// PATCH. Published versions of FunLess do not have it.
    Patch,
    /// HEAD. Published versions of FunLess do not have it.
    Head,
    /// OPTIONS. Published versions of FunLess do not have it.
    Options,
}

impl Method {
    const ALL: [Self; 7] =
        [Self::Get, Self::Post, Self::Put, Self::Delete, Self::Patch, Self::Head, Self::Options];

    /// Its name, like `GET`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Post => "POST",
            Self::Put => "PUT",
            Self::Delete => "DELETE",
            Self::Patch => "PATCH",
            Self::Head => "HEAD",
            Self::Options => "OPTIONS",
        }
    }

    /// Its number for the host.
    #[cfg(target_arch = "wasm32")]
    pub(crate) fn number(self) -> i32 {
        self as i32
    }

    fn is_published(self) -> bool {
        matches!(self, Self::Get | Self::Post | Self::Put | Self::Delete)
    }
}

impl fmt::Display for Method {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Parses a name like `GET`, which is in capital letters.
impl FromStr for Method {
    type Err = Error;

    fn from_str(name: &str) -> Result<Self, Error> {
        Self::ALL
            .into_iter()
            .find(|method| method.as_str() == name)
            .ok_or_else(|| Error::UnknownMethod(name.to_owned()))
    }
}

/// A request.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Request {
    /// The method.
    pub method: Method,
    /// The URL, with its scheme.
    pub url: String,
    /// Names and values. A name may be there more than once.
    pub headers: Vec<(String, String)>,
    /// The body, empty for none.
    pub body: Vec<u8>,
}

impl Request {
    /// A request without headers and body.
    pub fn new(method: Method, url: impl Into<String>) -> Self {
        Self { method, url: url.into(), headers: Vec::new(), body: Vec::new() }
    }

    /// A GET request.
    pub fn get(url: impl Into<String>) -> Self {
        Self::new(Method::Get, url)
    }

    /// A POST request.
    pub fn post(url: impl Into<String>) -> Self {
        Self::new(Method::Post, url)
    }

    /// A PUT request.
    pub fn put(url: impl Into<String>) -> Self {
        Self::new(Method::Put, url)
    }

    /// A DELETE request.
    pub fn delete(url: impl Into<String>) -> Self {
        Self::new(Method::Delete, url)
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    /// Sets the body, which may be any bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// Sets the body to the JSON text of a value, and the header `Content-Type`.
    pub fn json(self, value: &impl Serialize) -> Result<Self, Error> {
        let body = serde_json::to_vec(value).map_err(|error| Error::InvalidBody(error.to_string()))?;
        Ok(self.header("Content-Type", "application/json").body(body))
    }

    /// Sends the request and waits for the response, which may have any status and size. The host must be
    /// FunLess Mesh.
    pub fn send(&self) -> Result<Response, Error> {
        self.check_headers()?;
        host::send(self).ok_or_else(|| self.no_response())
    }

    /// Sends the request in the way that all versions of FunLess have: the method is GET, POST, PUT or DELETE,
    /// and the body of the response has at most `max_bytes`. If it has more, the function traps.
    ///
    /// Each request needs this much memory anew.
    pub fn send_within(&self, max_bytes: usize) -> Result<Response, Error> {
        self.check_headers()?;
        if !self.method.is_published() {
            return Err(Error::UnsupportedMethod(self.method));
        }
        host::send_within(self, max_bytes).ok_or_else(|| self.no_response())
    }

    fn no_response(&self) -> Error {
        Error::NoResponse { method: self.method, url: self.url.clone() }
    }

    /// Refuses headers that would become something else on their way: the host gets all of them as lines of one text.
    fn check_headers(&self) -> Result<(), Error> {
        for (name, value) in &self.headers {
            let is_name = !name.is_empty() && name.bytes().all(is_token);
            let is_value = value.chars().all(|character| character == '\t' || !character.is_control());
            if !is_name || !is_value {
                return Err(Error::InvalidHeader { name: name.clone(), value: value.clone() });
            }
        }
        Ok(())
    }

    /// The headers as the host reads them.
    #[cfg(any(target_arch = "wasm32", test))]
    pub(crate) fn headers_text(&self) -> String {
        let mut text = String::new();
        for (name, value) in &self.headers {
            if !text.is_empty() {
                text.push('\n');
            }
            text.push_str(name);
            text.push(':');
            text.push_str(value);
        }
        text
    }
}

/// Whether the names of headers may contain this character (RFC 9110, 5.6.2).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// A response.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Response {
    /// The status, like 200.
    pub status: u16,
    /// The body.
    pub body: Vec<u8>,
}

impl Response {
    /// A response, for tests.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self { status, body: body.into() }
    }

    /// Whether the status is one of 200 to 299.
    pub fn is_success(&self) -> bool {
        (200..300).contains(&self.status)
    }

    /// The body as text.
    pub fn text(&self) -> Result<&str, Error> {
        std::str::from_utf8(&self.body).map_err(|error| Error::InvalidBody(error.to_string()))
    }

    /// The value whose JSON text the body is.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Error> {
        json::from_slice(&self.body).map_err(Error::InvalidBody)
    }
}

/// Why there is no response, or why it is not what was expected.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// There was no response. The function's log says why.
    NoResponse {
        /// The method of the request.
        method: Method,
        /// The URL of the request.
        url: String,
    },
    /// The request was not sent: a header cannot have this name or value.
    InvalidHeader {
        /// The name.
        name: String,
        /// The value.
        value: String,
    },
    /// No method has this name.
    UnknownMethod(String),
    /// The request was not sent: [`send_within`](Request::send_within) does not support the method.
    UnsupportedMethod(Method),
    /// A body is not JSON or text as expected, for this reason.
    InvalidBody(String),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoResponse { method, url } => {
                write!(f, "{method} {url}: no response; the function's log says why")
            }
            Self::InvalidHeader { name, value } => {
                write!(
                    f,
                    "{name:?} with {value:?} is not a header; expected a name without spaces and colons, and a \
                     value without control characters"
                )
            }
            Self::UnknownMethod(name) => {
                write!(f, "the method {name:?} is unknown; expected one of")?;
                Method::ALL.iter().try_for_each(|method| write!(f, " {method}"))
            }
            Self::UnsupportedMethod(method) => {
                write!(f, "{method} cannot be sent in this way; expected GET, POST, PUT or DELETE")
            }
            Self::InvalidBody(reason) => write!(f, "the body is not as expected: {reason}"),
        }
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn methods() {
        for method in Method::ALL {
            assert_eq!(method.to_string().parse(), Ok(method));
        }
        for name in ["", "get", "CONNECT"] {
            let error = name.parse::<Method>().expect_err(name).to_string();
            let words =
                format!("{name:?} is unknown; expected one of GET POST PUT DELETE PATCH HEAD OPTIONS");
            assert!(error.ends_with(&words), "{error}");
        }
    }

    #[test]
    fn headers() {
        let cases = [
            ("A", "1", true),
            ("x-y_z", "a:b\tc é", true),
            ("A", "", true),
            ("", "1", false),
            ("A B", "1", false),
            ("A:B", "1", false),
            ("A\nB", "1", false),
            ("é", "1", false),
            ("A", "1\nB:2", false),
            ("A", "1\r", false),
            ("A", "\0", false),
        ];
        for (name, value, valid) in cases {
            let request = Request::get("http://a/").header(name, value);
            assert_eq!(request.check_headers().is_ok(), valid, "{name:?} {value:?}");
        }
        let request = Request::get("http://a/");
        assert_eq!(request.headers_text(), "");
        assert_eq!(request.header("A", "1").header("B", "x:y").headers_text(), "A:1\nB:x:y");
    }

    #[test]
    fn bodies() {
        let response = Response::new(204, "[1,2]");
        assert!(response.is_success() && !Response::new(300, "").is_success());
        assert_eq!(response.json(), Ok(vec![1, 2]));
        assert_eq!(response.text(), Ok("[1,2]"));
        assert!(response.json::<String>().is_err());
        assert!(Response::new(200, [0xff]).text().is_err());
        let request = Request::post("http://a/").json(&[1]).expect("JSON");
        assert_eq!(
            (request.headers_text().as_str(), &*request.body),
            ("Content-Type:application/json", &b"[1]"[..])
        );
    }
}
