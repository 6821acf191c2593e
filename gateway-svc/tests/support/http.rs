//! HTTP requests to the gateway.

use reqwest::multipart::{Form, Part};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use super::{ANN, Mesh};

/// A body to send.
#[derive(Debug, Clone)]
pub enum Body {
    None,
    /// With the content type `application/json`.
    Json(&'static str),
    /// With this content type.
    Typed(&'static str, &'static str),
    /// multipart/form-data.
    Form(&'static [(&'static str, &'static str)]),
}

/// One row of a table: a request and the expected response.
pub struct Row {
    pub ask: (&'static str, &'static str),
    pub body: Body,
    pub status: u16,
    /// The expected body; `Value::Null` if it is empty.
    pub answer: Value,
}

/// A response.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub text: String,
}

impl Answer {
    /// The body as JSON; null if it is empty.
    pub fn json(&self) -> Value {
        if self.text.is_empty() {
            return Value::Null;
        }
        serde_json::from_str(&self.text).unwrap_or_else(|_| panic!("not valid JSON: {self:?}"))
    }

    /// The body as published FunLess sends it: without the additional message and reason of an error.
    pub fn published(&self) -> Value {
        let mut body = self.json();
        let errors = body.get_mut("errors").and_then(Value::as_object_mut);
        if let Some(errors) = errors.filter(|errors| errors.contains_key("detail")) {
            errors.remove("message");
            errors.remove("reason");
        }
        body
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().expect("text"))
    }
}

pub fn client() -> Client {
    mesh::tls::install_crypto();
    Client::builder().no_proxy().build().expect("a client")
}

impl Mesh {
    /// A request without a token.
    pub fn anonymous(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).expect("a method");
        client().request(method, format!("{}{path}", self.rest.endpoint))
    }

    /// A request with the token of `ann`.
    pub fn request(&self, method: &str, path: &str) -> RequestBuilder {
        self.anonymous(method, path).bearer_auth(ANN)
    }

    /// Sends a request as `ann`.
    pub async fn ask(&self, method: &str, path: &str, body: Body) -> Answer {
        self.ask_as(ANN, method, path, body).await
    }

    pub async fn ask_as(&self, token: &str, method: &str, path: &str, body: Body) -> Answer {
        send(with_body(self.anonymous(method, path).bearer_auth(token), body)).await
    }

    /// Sends the requests of all rows with `token` and checks the responses.
    pub async fn walk(&self, token: &str, rows: impl IntoIterator<Item = Row>) {
        for Row { ask: (method, path), body, status, answer } in rows {
            let asked = format!("{method} {path} {body:?}");
            let actual = self.ask_as(token, method, path, body).await;
            assert_eq!((actual.status, actual.published()), (status, answer), "{asked}");
        }
    }
}

/// Adds a body to a request.
pub fn with_body(request: RequestBuilder, body: Body) -> RequestBuilder {
    match body {
        Body::None => request,
        Body::Json(json) => request.header("content-type", "application/json").body(json),
        Body::Typed(content_type, text) => request.header("content-type", content_type).body(text),
        Body::Form(parts) => request.multipart(form(parts)),
    }
}

pub async fn send(request: RequestBuilder) -> Answer {
    let response = request.send().await.expect("an answer");
    let (status, headers) = (response.status().as_u16(), response.headers().clone());
    Answer { status, headers, text: response.text().await.expect("a body") }
}

/// A form in which `code` and `file` are files, and other parts are text.
pub fn form(parts: &[(&str, &str)]) -> Form {
    parts.iter().fold(Form::new(), |form, (name, content)| {
        let part = Part::text((*content).to_owned());
        let part = match *name {
            "code" | "file" => part.file_name("upload"),
            _ => part,
        };
        form.part((*name).to_owned(), part)
    })
}
