//! Calls an HTTP server: `{"url":"http://example.org/"}` gives `{"status":200,"body":"..."}`.

use std::collections::BTreeMap;

use funless::Error;
use funless::http::{self, Method, Request};
use serde::{Deserialize, Serialize};

/// The request to send.
#[derive(Deserialize)]
pub struct Arguments {
    url: String,
    /// GET, unless something else is said.
    method: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    /// The text to send.
    #[serde(default)]
    body: String,
}

/// What the server responded.
#[derive(Serialize)]
pub struct Answer {
    status: u16,
    body: String,
}

/// Sends the request. Fails when the server cannot be reached.
#[funless::function]
pub fn http_caller(arguments: Arguments) -> Result<Answer, Error> {
    let Arguments { url, method, headers, body } = arguments;
    let method = method.map_or(Ok(Method::Get), |name| name.parse())?;
    let mut request = Request::new(method, &url).body(body);
    for (name, value) in headers {
        request = request.header(name, value);
    }
    let response = request.send().map_err(|error| match error {
        http::Error::NoResponse { .. } => Error::new(format!("{url} cannot be reached; the log says why")),
        other => other.into(),
    })?;
    Ok(Answer { status: response.status, body: String::from_utf8_lossy(&response.body).into_owned() })
}

#[cfg(test)]
mod tests {
    use funless::http::Response;
    use funless::serde_json::json;
    use funless::testing::Host;

    use super::http_caller;

    #[test]
    fn sends_what_it_is_given() {
        let host = Host::new().http(|request| {
            assert_eq!(request.headers, [("A".to_owned(), "1".to_owned())]);
            Some(Response::new(201, format!("{} {} {:?}", request.method, request.url, request.body)))
        });
        let arguments = json!({ "url": "http://a/", "method": "PUT", "body": "b", "headers": { "A": "1" } });
        let invocation = host.invoke::<http_caller>(arguments);
        assert_eq!(invocation.result, Ok(json!({ "status": 201, "body": "PUT http://a/ [98]" })));
    }

    #[test]
    fn fails() {
        let host = Host::new().http(|_| None);
        let cases = [
            (json!({ "url": "http://a/" }), "http://a/ cannot be reached"),
            (json!({ "url": "http://a/", "method": "BREW" }), "the method \"BREW\" is unknown"),
            (json!({ "url": "http://a/", "headers": { "a b": "" } }), "\"a b\" with \"\" is not a header"),
            (json!({}), "invalid arguments: missing field `url`"),
        ];
        for (arguments, expected) in cases {
            let error = host.invoke::<http_caller>(arguments).result.expect_err(expected);
            assert!(error.starts_with(expected), "{error}");
        }
    }
}
