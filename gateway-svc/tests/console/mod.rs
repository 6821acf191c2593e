//! The console as HTTP clients see it.

use std::time::Duration;

use futures::StreamExt as _;
use gateway_svc::ConsoleConfig;
use mesh::receipt::Receipt;
use mesh::testing::eventually;
use proto::log::v1::{LogLine, TailLogsResponse};
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder};

use crate::support::http::{Answer, send};
use crate::support::scheduler;
use crate::support::{ANN, Mesh, ROOT};

const HOSTILE: &str = "\"<script>alert(1)</script>\"";

/// A browser, of which only the cookie matters.
struct Browser<'a> {
    mesh: &'a Mesh,
    http: Client,
    cookie: String,
}

async fn start() -> Mesh {
    let on = |config: &mut gateway_svc::Config| {
        config.console = ConsoleConfig { enabled: true, ..ConsoleConfig::default() };
        // A revoked token is noticed at once.
        config.token_cache_s = 0;
    };
    Mesh::start_with(on).await
}

impl<'a> Browser<'a> {
    fn new(mesh: &'a Mesh) -> Self {
        mesh::tls::install_crypto();
        let http = Client::builder().no_proxy().redirect(Policy::none()).build().expect("a client");
        Self { mesh, http, cookie: String::new() }
    }

    async fn signed_in(mesh: &'a Mesh, token: &str) -> Self {
        let mut this = Self::new(mesh);
        let answer = this.post("/console/sign-in", &[("token", token)]).await;
        assert_eq!(
            (answer.status, answer.header("location")),
            (303, Some("/console/signed-in?next=%2Fconsole"))
        );
        this.keep(&answer);
        this
    }

    fn keep(&mut self, answer: &Answer) {
        let cookie = answer.header("set-cookie").expect("a session");
        self.cookie = cookie.split(';').next().expect("a pair").to_owned();
    }

    fn with_cookie(&self, request: RequestBuilder) -> RequestBuilder {
        request.header("cookie", &self.cookie)
    }

    async fn get(&self, path: &str) -> Answer {
        send(self.with_cookie(self.http.get(format!("{}{path}", self.mesh.rest.endpoint)))).await
    }

    async fn post(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let body = serde_urlencoded::to_string(fields).expect("a form");
        let request = self.http.post(format!("{}{path}", self.mesh.rest.endpoint));
        let request = request.header("content-type", "application/x-www-form-urlencoded").body(body);
        send(self.with_cookie(request)).await
    }

    /// The secret in the forms of the session.
    async fn csrf(&self) -> String {
        let page = self.get("/console/functions").await;
        let (_, rest) = page.text.split_once("name=\"csrf\" value=\"").expect("a form");
        rest.split('"').next().expect("a value").to_owned()
    }
}

#[tokio::test]
async fn it_is_off_unless_it_is_configured() {
    let mesh = Mesh::start().await;
    for path in ["/console", "/console/sign-in", "/console/assets/0/console.css"] {
        assert_eq!(send(mesh.anonymous("GET", path)).await.status, 404, "{path}");
    }
}

#[tokio::test]
async fn a_session_is_needed_and_ends() {
    let mesh = start().await;
    let mut browser = Browser::new(&mesh);
    let page = browser.get("/console/functions?q=a").await;
    let expected = (303, Some("/console/sign-in?next=%2Fconsole%2Ffunctions%3Fq%3Da"));
    assert_eq!((page.status, page.header("location")), expected);
    assert!(page.header("content-security-policy").is_some_and(|policy| !policy.contains("unsafe")));
    let page = browser.post("/console/sign-in", &[("token", "wrong")]).await;
    assert!(page.text.contains("This token is unknown"), "{}", page.text);
    assert_eq!(page.header("set-cookie"), None);

    browser = Browser::signed_in(&mesh, ANN).await;
    let page = browser.get("/console/functions").await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    let csrf = browser.csrf().await;
    let page = browser.post("/console/sign-out", &[("csrf", &csrf)]).await;
    assert_eq!((page.status, page.header("location")), (303, Some("/console/sign-in")));
    assert!(page.header("set-cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
    mesh.registry.revoke(ANN);
    let is_over = || async { browser.get("/console/functions").await.status == 303 };
    eventually("the session has ended", is_over).await;
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let mesh = start().await;
    let link = async |request: RequestBuilder| send(request).await;
    assert_eq!(link(mesh.anonymous("POST", "/console/links")).await.status, 403);
    let made = link(mesh.request("POST", "/console/links")).await;
    let path = made.json()["data"]["path"].as_str().expect("a path").to_owned();
    let mut browser = Browser::new(&mesh);
    let head = browser.http.head(format!("{}{path}", mesh.rest.endpoint)).send().await.expect("an answer");
    assert!(head.headers().get("set-cookie").is_none(), "a preview does not use the link");
    let page = browser.get(&path).await;
    browser.keep(&page);
    assert_eq!(browser.get("/console").await.status, 200);
    let page = Browser::new(&mesh).get(&path).await;
    assert!(page.text.contains("This link has been used"), "{}", page.text);
}

#[tokio::test]
async fn forms_need_the_secret_of_the_session() {
    let mesh = start().await;
    let (ann, root) = (Browser::signed_in(&mesh, ANN).await, Browser::signed_in(&mesh, ROOT).await);
    let (own, other) = (ann.csrf().await, root.csrf().await);
    for csrf in ["", "0", other.as_str()] {
        let page = ann.post("/console/modules", &[("csrf", csrf), ("name", "m")]).await;
        assert_eq!(page.status, 403, "{csrf}");
    }
    let elsewhere = ann.http.post(format!("{}/console/modules", mesh.rest.endpoint));
    let elsewhere = ann.with_cookie(elsewhere).header("sec-fetch-site", "cross-site");
    assert_eq!(send(elsewhere).await.status, 403);
    assert!(!mesh.registry.state.lock().modules.contains_key("m"));
    assert_eq!(ann.post("/console/modules", &[("csrf", &own), ("name", "m")]).await.status, 303);
    assert!(mesh.registry.state.lock().modules.contains_key("m"));
}

#[tokio::test]
async fn a_function_is_uploaded_and_invoked() {
    let mesh = start().await;
    let ann = Browser::signed_in(&mesh, ANN).await;
    let csrf = ann.csrf().await;
    let upload = |csrf: &str| {
        let form = reqwest::multipart::Form::new().text("csrf", csrf.to_owned()).text("name", "f");
        let code = reqwest::multipart::Part::text("\0asm\u{1}\0\0\0").file_name("f.wasm");
        let request = ann.http.post(format!("{}/console/modules/_/functions", mesh.rest.endpoint));
        send(ann.with_cookie(request).multipart(form.part("code", code)))
    };
    assert_eq!(upload("0").await.status, 403);
    let page = upload(&csrf).await;
    assert_eq!(
        (page.status, page.header("location")),
        (303, Some("/console/functions/_/f")),
        "{}",
        page.text
    );
    assert_eq!(mesh.registry.state.lock().code, b"\0asm\x01\0\0\0");

    mesh.scheduler.answers(scheduler::Answer::Result(HOSTILE));
    let receipt = Receipt { run_us: 70, total_us: 100, worker: "<b>w1".into(), ..Receipt::default() };
    mesh.scheduler.state.lock().receipt = receipt;
    let fields = [("csrf", csrf.as_str()), ("args", "{\"b\": 1.0}"), ("policy", "/default")];
    let page = ann.post("/console/functions/_/f/invoke", &fields).await;
    assert_eq!(page.status, 200, "{}", page.text);
    assert_eq!(mesh.scheduler.last_request().args, "{\"b\": 1.0}");
    assert!(page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt;"), "{}", page.text);
    assert!(page.text.contains("class=\"phase run\""), "{}", page.text);
    assert!(!page.text.contains("<script>") && !page.text.contains("<b>"), "{}", page.text);

    let page = ann.get("/console/invocations?function=f").await;
    assert!(page.text.contains("_/f") && page.text.contains("&lt;b&gt;w1"), "{}", page.text);
    let page = Browser::signed_in(&mesh, ROOT).await.get("/console").await;
    assert!(page.text.contains("Cold starts"), "{}", page.text);
}

#[tokio::test]
async fn log_lines_arrive() {
    let mesh = start().await;
    let ann = Browser::signed_in(&mesh, ANN).await;
    let request = ann.http.get(format!("{}/console/functions/_/f/logs", mesh.rest.endpoint));
    let response = ann.with_cookie(request).send().await.expect("a stream");
    assert_eq!(response.headers()["content-type"], "text/event-stream");
    eventually("the log is followed", || async { mesh.scheduler.logs.followers() == 1 }).await;
    let line = LogLine { text: "<i>a\r\nb".into(), ..LogLine::default() };
    mesh.scheduler.logs.send(TailLogsResponse { lines: vec![line], ..TailLogsResponse::default() });
    let mut chunks = response.bytes_stream();
    let read = async {
        let mut text = String::new();
        while !text.contains("\n\n") {
            text.push_str(&String::from_utf8_lossy(&chunks.next().await.expect("more").expect("no error")));
        }
        text
    };
    let text = tokio::time::timeout(Duration::from_secs(10), read).await.expect("a line in time");
    assert!(text.starts_with("event: line\ndata: <li>") && text.contains("&lt;i&gt;a"), "{text}");
}

#[tokio::test]
async fn pages_for_administrators() {
    let mesh = start().await;
    let (ann, root) = (Browser::signed_in(&mesh, ANN).await, Browser::signed_in(&mesh, ROOT).await);
    for path in ["/console/workers", "/console/subjects"] {
        assert_eq!(ann.get(path).await.status, 303, "{path}");
        let page = root.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        assert!(!ann.get("/console/functions").await.text.contains(path), "{path} is not in the navigation");
    }
    for path in [
        "/console",
        "/console/functions",
        "/console/modules/_/new",
        "/console/invocations",
        "/console/bindings",
        "/console/dead-letters?action=purge",
        "/console/scripts",
        "/console/scripts/new",
        "/console/simulator",
    ] {
        let page = ann.get(path).await;
        assert_eq!(page.status, 200, "{path}: {}", page.text);
        assert!(!page.text.contains(" style=") && !page.text.contains(" onclick="), "{path} has inline code");
    }
    assert_eq!(ann.get("/console/none").await.status, 404);
}
