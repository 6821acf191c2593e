//! A user of the REST surface.

use std::time::Duration;

use http::{HeaderMap, Method};
use reqwest::multipart::{Form, Part};
use serde_json::{Value, json};

/// No answer takes longer; a function's own limit is 60 s.
const TIMEOUT: Duration = Duration::from_secs(90);

/// An HTTP client.
pub fn http() -> reqwest::Client {
    mesh::tls::install_crypto();
    reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().expect("a client without TLS files")
}

/// A user of a mesh, or nobody.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Option<String>,
}

/// The answer to one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The request, for messages.
    pub to: String,
    /// The HTTP status.
    pub status: u16,
    /// The headers.
    pub headers: HeaderMap,
    /// The body.
    pub text: String,
}

/// The parts of a multipart form: texts by name, and the file `code` or `file`.
#[derive(Debug, Clone, Default)]
pub struct Upload {
    texts: Vec<(String, String)>,
    files: Vec<(String, Vec<u8>)>,
}

impl Upload {
    /// What creates the function `name` from `code`.
    pub fn function(name: &str, code: &[u8]) -> Self {
        Self::default().text("name", name).file("code", code)
    }

    /// Adds a text.
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

    fn form(self) -> Form {
        let form = self.texts.into_iter().fold(Form::new(), |form, (name, text)| form.text(name, text));
        self.files.into_iter().fold(form, |form, (name, content)| {
            let part = Part::bytes(content).file_name(format!("{name}.bin"));
            form.part(name, part)
        })
    }
}

impl Client {
    /// Someone who shows `token` to the mesh at `base`, such as `http://127.0.0.1:4000`.
    pub fn new(base: &str, token: Option<&str>) -> Self {
        Self { http: http(), base: base.to_owned(), token: token.map(str::to_owned) }
    }

    /// The same mesh and another user.
    #[must_use]
    pub fn with_token(&self, token: Option<&str>) -> Self {
        Self { token: token.map(str::to_owned), ..self.clone() }
    }

    /// The token that it shows.
    pub fn token(&self) -> Option<&str> {
        self.token.as_deref()
    }

    /// A request to this path, which is escaped where it has to be.
    pub fn request(&self, method: Method, path: &str) -> reqwest::RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        match &self.token {
            Some(token) => request.bearer_auth(token),
            None => request,
        }
    }

    /// Sends a request; an error when there is no answer.
    pub async fn try_send(&self, request: reqwest::RequestBuilder) -> reqwest::Result<Answer> {
        let request = request.build()?;
        let to = format!("{} {}", request.method(), request.url().path());
        let answer = self.http.execute(request).await?;
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        Ok(Answer { to, status, headers, text: answer.text().await? })
    }

    /// Sends a request that is answered.
    pub async fn send(&self, request: reqwest::RequestBuilder) -> Answer {
        self.try_send(request).await.unwrap_or_else(|error| panic!("no answer: {error:?}"))
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

    /// POST with a body as it stands.
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

    /// Invokes a function whose `args` are this text.
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

    /// Invokes a function, whatever comes of it.
    pub async fn invoke(&self, module: &str, name: &str, args: Value) -> Answer {
        self.post(&format!("/v1/fn/{module}/{name}"), &json!({ "args": args })).await
    }

    /// Invokes a function that is to succeed.
    pub async fn result(&self, module: &str, name: &str, args: Value) -> Value {
        self.invoke(module, name, args).await.expect(200).json()["data"].take()
    }

    /// Creates a subject, which only an administrator may do.
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
        serde_json::from_str(&self.text)
            .unwrap_or_else(|error| panic!("{} answered no JSON: {error}: {}", self.to, shorten(&self.text)))
    }

    /// The words of an error: `errors.detail`.
    #[track_caller]
    pub fn detail(&self) -> String {
        let body = self.json();
        let detail = body["errors"]["detail"].as_str();
        detail.unwrap_or_else(|| panic!("{} has no errors.detail: {body}", self.to)).to_owned()
    }
}

fn shorten(text: &str) -> String {
    text.chars().take(600).collect()
}
