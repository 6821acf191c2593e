//! A client of the REST API.

use std::time::Duration;

use http::{HeaderMap, Method};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// The timeout of a request. A function's own timeout is 60 s.
const TIMEOUT: Duration = Duration::from_secs(90);

/// An HTTP client.
pub fn http() -> reqwest::Client {
    mesh::tls::install_crypto();
    reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().expect("an HTTP client")
}

/// A client of a mesh, with or without a token.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// The response to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The request's method and path, for error messages.
    pub to: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

/// The parts of a multipart form: text fields and files, by name.
#[derive(Debug, Clone, Default)]
pub struct Upload {
    texts: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
}

impl Upload {
    /// The form that creates the function `name` from `code`.
    pub fn function(name: &str, code: &[u8]) -> Self {
        Self::default().text("name", name).file("code", code)
    }

    /// Adds a text field.
    #[must_use]
    pub fn text(mut self, name: &str, text: impl Into<String>) -> Self {
        self.texts.push((name.to_owned(), text.into()));
        self
    }

    /// Adds a file.
    #[must_use]
    pub fn file(mut self, name: &str, content: &[u8]) -> Self {
        self.files.push((name.to_owned(), content.to_owned()));
        self
    }

    /// The form for a request.
    pub(crate) fn form(self) -> Form {
        let form = self.texts.into_iter().fold(Form::new(), |form, (name, text)| form.text(name, text));
        self.files.into_iter().fold(form, |form, (name, content)| {
            let part = Part::bytes(content).file_name(format!("{name}.bin"));
            form.part(name, part)
        })
    }
}

impl Client {
    /// A client of the mesh at `base`, such as `http://127.0.0.1:4000`.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        Self { http: http(), base: base.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same mesh with another token.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The client's token.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A request to this path, which is percent-encoded where needed.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request. Returns an error if there is no response.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let request = request.build()?;
        let to = format!("{} {}", request.method(), request.url().path());
        let answer = self.http.execute(request).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { to, status, headers, text: answer.text().await? })
    }

    /// Sends a request. Panics if there is no response.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no response: {error:?}"))
    }

    /// GET.
    pub async fn get(&self, path: &str) -> Answer {
        self.send(self.request(Method::GET, path)).await
    }

    /// DELETE.
    pub async fn delete(&self, path: &str) -> Answer {
        self.send(self.request(Method::DELETE, path)).await
    }

    /// POST with a JSON body.
    pub async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(self.request(Method::POST, path).json(body)).await
    }

    /// POST with a raw body.
    pub async fn post_text(&self, path: &str, content_type: &str, body: impl Into<Vec<u8>>) -> Answer {
        let request = self.request(Method::POST, path).header("content-type", content_type);
        self.send(request.body(body.into())).await
    }

    /// POST with a form.
    pub async fn post_form(&self, path: &str, upload: Upload) -> Answer {
        self.send(self.request(Method::POST, path).multipart(upload.form())).await
    }

    /// PUT with a form.
    pub async fn put_form(&self, path: &str, upload: Upload) -> Answer {
        self.send(self.request(Method::PUT, path).multipart(upload.form())).await
    }

    /// Invokes a function with this raw text as `args`.
    pub async fn invoke_raw(&self, module: &str, name: &str, args: &str) -> Answer {
        let body = format!("{{\"args\":{args}}}");
        self.post_text(&format!("/v1/fn/{module}/{name}"), "application/json", body).await
    }

    /// Creates a module and asserts that it worked.
    pub async fn create_module(&self, name: &str) {
        self.post("/v1/fn", &json!({ "module": { "name": name } })).await.expect(201);
    }

    /// Creates a function and asserts that it worked.
    pub async fn create_function(&self, module: &str, name: &str, code: &[u8]) {
        self.post_form(&format!("/v1/fn/{module}"), Upload::function(name, code)).await.expect(201);
    }

    /// Replaces a function's code and asserts that it worked.
    pub async fn update_function(&self, module: &str, name: &str, code: &[u8]) {
        self.put_form(&format!("/v1/fn/{module}/{name}"), Upload::function(name, code)).await.expect(200);
    }

    /// Invokes a function and returns the response, also if it is an error.
    pub async fn invoke(&self, module: &str, name: &str, args: Value) -> Answer {
        self.post(&format!("/v1/fn/{module}/{name}"), &json!({ "args": args })).await
    }

    /// Invokes a function, asserts that it succeeded, and returns the result.
    pub async fn result(&self, module: &str, name: &str, args: Value) -> Value {
        self.invoke(module, name, args).await.expect(200).json()["data"].take()
    }

    /// Creates a subject and returns its client. Only administrators may do so.
    pub async fn create_subject(&self, name: &str) -> Self {
        let answer = self.post("/v1/admin/subjects", &json!({ "subject": { "name": name } })).await;
        let answer = answer.expect(201).json();
        self.with_token(Some(answer["data"]["token"].as_str().expect("a token")))
    }
}

impl Answer {
    /// Asserts the status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{} answered {}", self.to, shorten(&self.text));
        self
    }

    /// The body as JSON.
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|error| {
            panic!("the body of {} is not valid JSON: {error}: {}", self.to, shorten(&self.text))
        })
    }

    /// The message of an error: `errors.detail`.
    #[track_caller]
    pub fn detail(&self) -> String {
        let body = self.json();
        let detail = body["errors"]["detail"].as_str();
        detail.unwrap_or_else(|| panic!("the body of {} has no errors.detail: {body}", self.to)).to_owned()
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(600).collect()
}
