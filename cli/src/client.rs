//! The REST client. Its errors say what to do next.

use std::net::IpAddr;

use anyhow::{Context as _, anyhow};
use mesh::auth::Secret;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::args::Target;
use crate::profile::{self, Profile};

/// A mesh's REST surface, as one user.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Secret,
}

impl Client {
    /// The client that the command line and the profile ask for.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        Self::with_token_of(target, "API token", |profile| profile.api_token.take())
    }

    /// The same with the profile's other token, for what only administrators may do.
    pub fn for_administrators(target: &Target) -> anyhow::Result<Self> {
        Self::with_token_of(target, "administrator's token", |profile| profile.admin_token.take())
    }

    fn with_token_of(
        target: &Target,
        token_name: &str,
        token_of: impl FnOnce(&mut Profile) -> Option<Secret>,
    ) -> anyhow::Result<Self> {
        let path = profile::locate(target.config.as_deref());
        let mut profile = match (&target.host, &target.token) {
            (Some(_), Some(_)) => Profile::default(),
            _ => Profile::read(&path)?.unwrap_or_default(),
        };
        let missing = |what: &str| {
            anyhow!(
                "no {what} configured in {}; start a mesh here with `fl up`, use `fl cfg set`, or set --host and --token",
                path.display()
            )
        };
        let token = target.token.clone().map(Secret::new).or_else(|| token_of(&mut profile));
        let host = target.host.clone().or(profile.api_host).ok_or_else(|| missing("API address"))?;
        Self::at(&host, token.ok_or_else(|| missing(token_name))?)
    }

    /// A client of the mesh at `host`.
    pub fn at(host: &str, token: Secret) -> anyhow::Result<Self> {
        let host = host.trim_end_matches('/');
        let base = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        Ok(Self { http: http(&base)?, base, token })
    }

    /// A request to a path below `/v1`, whose segments are escaped.
    pub fn request(&self, method: Method, segments: &[&str]) -> anyhow::Result<RequestBuilder> {
        self.query(method, segments, &[])
    }

    /// The same with a query.
    pub fn query(
        &self,
        method: Method,
        segments: &[&str],
        query: &[(&str, String)],
    ) -> anyhow::Result<RequestBuilder> {
        let mut url = reqwest::Url::parse(&self.base).with_context(|| format!("--host {}", self.base))?;
        url.path_segments_mut()
            .map_err(|()| anyhow!("--host {}: expected http://host:port", self.base))?
            .pop_if_empty()
            .push("v1")
            .extend(segments);
        if !query.is_empty() {
            url.query_pairs_mut().extend_pairs(query);
        }
        Ok(self.http.request(method, url).bearer_auth(self.token.expose()))
    }

    /// Sends a request and gives the body of a success as it came.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<String> {
        self.ask(request).await?.success()
    }

    /// Sends a request and gives its answer, which may be a refusal.
    pub async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let response = self.open(request).await?;
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await.context("the answer broke off")?;
        Ok(Answer { status, headers, body })
    }

    /// Sends a request and gives a successful answer, whose body has yet to come.
    pub async fn stream(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = self.open(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        let (status, headers) = (response.status(), response.headers().clone());
        let body = response.text().await.context("the answer broke off")?;
        Err(Answer { status, headers, body }.success().expect_err("it is not a success"))
    }

    async fn open(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        if error.is_connect() {
            return anyhow!(
                "cannot reach {}; start a mesh with `fl up`, or name another with --host",
                self.base
            );
        }
        anyhow!("no answer from {}: {error}", self.base)
    }
}

/// What the mesh answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: String,
}

impl Answer {
    /// The decision that an invocation was placed by, if one was made.
    pub fn decision(&self) -> Option<String> {
        self.headers.get(mesh::DECISION_HEADER)?.to_str().ok().map(str::to_owned)
    }

    /// Whether nothing was done.
    pub fn may_be_repeated(&self) -> bool {
        self.headers.contains_key(RETRY_AFTER)
    }

    /// What was wrong with a field, message by message.
    pub fn messages(&self, field: &str) -> Vec<String> {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        let messages = body["errors"][field].as_array().into_iter().flatten();
        messages.filter_map(|message| message.as_str().map(str::to_owned)).collect()
    }

    /// What was wrong: what and where if the mesh says so, else in general.
    pub fn words(&self) -> String {
        let refusal = Refusal::read(&self.body);
        refusal.message.unwrap_or(refusal.detail)
    }

    /// The body of a success as it came; else what was wrong and what to do.
    pub fn success(self) -> anyhow::Result<String> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let is_not_found = self.status == StatusCode::NOT_FOUND;
        let refusal = Refusal { is_not_found, ..Refusal::read(&self.body) };
        let advice = match self.status {
            StatusCode::UNAUTHORIZED => Some("set another token with --token, or see `fl up`"),
            // The one conflict there is: a function of this name.
            StatusCode::CONFLICT => Some("the function already exists; replace it with `fl fn update`"),
            StatusCode::SERVICE_UNAVAILABLE if self.may_be_repeated() => Some("try again in a moment"),
            StatusCode::TOO_MANY_REQUESTS => Some("the mesh is busy; try again in a moment"),
            _ => None,
        };
        Err(advice.map(str::to_owned).into_iter().fold(refusal, Refusal::with_advice).into())
    }
}

/// What is in the envelope of an answer.
pub fn data<'a, T: Deserialize<'a>>(body: &'a str) -> anyhow::Result<T> {
    #[derive(Deserialize)]
    struct Data<T> {
        data: T,
    }
    Ok(serde_json::from_str::<Data<T>>(body).context("the answer is not what was expected")?.data)
}

/// An HTTP client that also works on a machine without certificates of authorities. What is on this
/// machine is reached without a proxy, which would learn the tokens.
pub fn http(base: &str) -> anyhow::Result<reqwest::Client> {
    let url = reqwest::Url::parse(base).with_context(|| format!("--host {base}"))?;
    let host = url.host_str().unwrap_or_default().trim_matches(['[', ']']);
    let is_loopback = host == "localhost" || host.parse().is_ok_and(|ip: IpAddr| ip.is_loopback());
    let builder = reqwest::Client::builder().tls_backend_preconfigured(mesh::tls::web());
    let client = if is_loopback { builder.no_proxy() } else { builder }.build();
    client.context("the HTTP client cannot be set up")
}

/// What a mesh answers instead of a success.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refusal {
    /// What was wrong and where, and what to do about it.
    pub message: Option<String>,
    /// What was wrong in general: the words of the REST surface, such as `Not Found`.
    detail: String,
    /// What was named does not exist.
    pub is_not_found: bool,
}

impl Refusal {
    /// The refusal with a hint what to do about it.
    pub fn with_advice(self, advice: String) -> Self {
        let parts = [self.message, Some(advice)];
        let message = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
        Self { message: Some(message), ..self }
    }

    /// Reads `{"errors":{"detail":"...","message":"..."}}` or `{"errors":{"field":["...", ...]}}`.
    fn read(body: &str) -> Self {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let Some(errors) = body.get("errors").and_then(Value::as_object) else {
            return Self { message: None, detail: "the mesh gave no reason".to_owned(), is_not_found: false };
        };
        let text = |key: &str| errors.get(key).and_then(Value::as_str).map(str::to_owned);
        let fields = errors.iter().filter_map(|(field, messages)| {
            let messages: Vec<_> = messages.as_array()?.iter().filter_map(Value::as_str).collect();
            Some(format!("{field} {}", messages.join(", ")))
        });
        let detail = text("detail").unwrap_or_else(|| fields.collect::<Vec<_>>().join("; "));
        Self { message: text("message"), detail, is_not_found: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_not_done_is_to_be_tried_again() {
        let words = |status: u16, may_be_repeated| {
            let status = StatusCode::from_u16(status).expect("a status");
            let body = r#"{"errors":{"detail":"why"}}"#.to_owned();
            let mut headers = HeaderMap::new();
            if may_be_repeated {
                headers.insert(RETRY_AFTER, "1".parse().expect("a value"));
            }
            let answer = Answer { status, headers, body };
            let error = answer.success().expect_err("a refusal");
            let refusal = error.downcast::<Refusal>().expect("the mesh's own");
            (refusal.to_string(), refusal.message)
        };
        let advice = Some("try again in a moment".to_owned());
        assert_eq!(words(503, true), ("why".to_owned(), advice));
        assert_eq!(words(503, false), ("why".to_owned(), None));
        assert_eq!(words(404, false), ("why".to_owned(), None));
    }

    #[test]
    fn a_refusal_has_what_was_wrong_in_general_and_in_particular() {
        for (body, message, detail) in [
            (r#"{"errors":{"detail":"Not Found"}}"#, None, "Not Found"),
            (
                r#"{"errors":{"detail":"Not Found","message":"no function \"f\"","reason":"FUNCTION_NOT_FOUND"}}"#,
                Some("no function \"f\""),
                "Not Found",
            ),
            (
                r#"{"errors":{"name":["can't be blank","is invalid"]}}"#,
                None,
                "name can't be blank, is invalid",
            ),
            ("<html>", None, "the mesh gave no reason"),
        ] {
            let (message, detail) = (message.map(str::to_owned), detail.to_owned());
            let expected = Refusal { message, detail, is_not_found: false };
            assert_eq!(Refusal::read(body), expected);
        }
    }
}
