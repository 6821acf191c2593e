//! The REST client. Its errors say what to do next.

use std::error::Error as _;
use std::io::ErrorKind;
use std::net::IpAddr;
use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use mesh::auth::Secret;
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{Method, RequestBuilder, StatusCode};
use serde::Deserialize;
use serde_json::Value;

use crate::args::Target;
use crate::profile::{self, Profile};

/// A mesh's REST surface, as one user.
#[derive(Debug, Clone)]
pub struct Client {
    http: reqwest::Client,
    base: String,
    token: Secret,
    /// Where the token is from.
    origin: Origin,
}

/// Where a token is from.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Origin {
    /// The command line or the environment.
    Given,
    /// This key of this profile.
    Profile { key: &'static str, path: PathBuf },
}

/// Whose token a command takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum TokenOf {
    Subject,
    Administrator,
}

impl TokenOf {
    /// Its name in sentences, and in profiles.
    fn names(self) -> (&'static str, &'static str) {
        match self {
            Self::Subject => ("API token", "api_token"),
            Self::Administrator => ("administrator's token", "admin_token"),
        }
    }

    fn take(self, profile: &mut Profile) -> Option<Secret> {
        match self {
            Self::Subject => profile.api_token.take(),
            Self::Administrator => profile.admin_token.take(),
        }
    }
}

impl Client {
    /// The client that the command line and the profile ask for.
    pub fn new(target: &Target) -> anyhow::Result<Self> {
        Self::with_token_of(target, TokenOf::Subject)
    }

    /// The same with the profile's other token, for what only administrators may do.
    pub fn for_administrators(target: &Target) -> anyhow::Result<Self> {
        Self::with_token_of(target, TokenOf::Administrator)
    }

    fn with_token_of(target: &Target, token_of: TokenOf) -> anyhow::Result<Self> {
        let path = profile::locate(target.config.as_deref());
        let mut profile = match (&target.host, &target.token) {
            (Some(_), Some(_)) => Profile::default(),
            _ => Profile::read(&path)?.unwrap_or_default(),
        };
        let (name, key) = token_of.names();
        let missing = |what: &str| {
            anyhow!(
                "no {what} configured in {}; start a mesh here with `fl up`, use `fl cfg set`, or set --host and --token",
                path.display()
            )
        };
        // A value that was deleted from a profile leaves its key.
        let host = target.host.clone().or(profile.api_host.take().filter(|host| !host.is_empty()));
        let host = host.ok_or_else(|| missing("API address"))?;
        let (token, origin) = match &target.token {
            Some(token) => (Secret::new(token.clone()), Origin::Given),
            None => {
                let token = token_of.take(&mut profile).filter(|token| !token.expose().is_empty());
                (token.ok_or_else(|| missing(name))?, Origin::Profile { key, path: path.clone() })
            }
        };
        Ok(Self { origin, ..Self::at(&host, token)? })
    }

    /// A client of the mesh at `host`.
    pub fn at(host: &str, token: Secret) -> anyhow::Result<Self> {
        let host = host.trim_end_matches('/');
        let base = if host.contains("://") { host.to_owned() } else { format!("http://{host}") };
        Ok(Self { http: http(&base)?, base, token, origin: Origin::Given })
    }

    /// The address of the mesh.
    pub fn base(&self) -> &str {
        &self.base
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

    /// A link that signs in to the console once, as this user. `None` if the gateway serves no console.
    pub async fn console_link(&self) -> anyhow::Result<Option<String>> {
        #[derive(Deserialize)]
        struct Link {
            path: String,
        }
        let request = self.http.post(format!("{}/console/links", self.base)).bearer_auth(self.token.expose());
        let answer = self.ask(request).await?;
        if answer.status == StatusCode::NOT_FOUND {
            return Ok(None);
        }
        let body = answer.success()?;
        Ok(Some(format!("{}{}", self.base, data::<Link>(&body)?.path)))
    }

    /// Sends a request and gives the body of a success as it came.
    pub async fn send(&self, request: RequestBuilder) -> anyhow::Result<String> {
        self.ask(request).await?.success()
    }

    /// Sends a request and gives its answer, which may be a refusal.
    pub async fn ask(&self, request: RequestBuilder) -> anyhow::Result<Answer> {
        let response = self.open(request).await?;
        self.read(response).await
    }

    /// Sends a request and gives a successful answer, whose body has yet to come.
    pub async fn stream(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        let response = self.open(request).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.read(response).await?.success().expect_err("it is not a success"))
    }

    async fn open(&self, request: RequestBuilder) -> anyhow::Result<reqwest::Response> {
        request.send().await.map_err(|error| self.unreachable(&error))
    }

    async fn read(&self, response: reqwest::Response) -> anyhow::Result<Answer> {
        let (status, headers) = (response.status(), response.headers().clone());
        let body =
            response.text().await.context("the answer broke off; try again, or see the log of the mesh")?;
        Ok(Answer { status, headers, body, origin: self.origin.clone() })
    }

    fn unreachable(&self, error: &reqwest::Error) -> anyhow::Error {
        let base = &self.base;
        if !error.is_connect() {
            return anyhow!("no answer from {base}: {}; is it the REST API of a mesh?", root_cause(error));
        }
        match refuses(error) {
            true => anyhow!(
                "cannot reach {base}: nobody listens there; start a mesh with `fl up`, or name another with --host"
            ),
            false => anyhow!(
                "cannot reach {base}: {}; start a mesh with `fl up`, or name another with --host",
                root_cause(error)
            ),
        }
    }
}

/// Whether nobody listens at the address.
fn refuses(error: &reqwest::Error) -> bool {
    causes(error).any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    })
}

fn causes(error: &reqwest::Error) -> impl Iterator<Item = &(dyn std::error::Error + 'static)> {
    std::iter::successors(error.source(), |&cause| cause.source())
}

/// The cause that says most.
fn root_cause(error: &reqwest::Error) -> String {
    causes(error).last().map_or_else(|| error.to_string(), ToString::to_string)
}

/// What the mesh answered.
#[derive(Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    body: String,
    origin: Origin,
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
        let refusal = Refusal::read(self.status, &self.body);
        refusal.message.unwrap_or(refusal.detail)
    }

    /// Why it is no success, for programs, such as OVERLOADED. Empty: it does not say.
    pub fn reason(&self) -> String {
        let body: Value = serde_json::from_str(&self.body).unwrap_or_default();
        body["errors"]["reason"].as_str().unwrap_or_default().to_owned()
    }

    /// The body of a success as it came; else what was wrong and what to do.
    pub fn success(self) -> anyhow::Result<String> {
        if self.status.is_success() {
            return Ok(self.body);
        }
        let refusal = Refusal::read(self.status, &self.body);
        if self.status == StatusCode::UNAUTHORIZED {
            return Err(Refusal { message: Some(self.token_advice()), ..refusal }.into());
        }
        let advice = advice(self.status, refusal.reason.as_deref(), self.may_be_repeated());
        Err(advice.map(str::to_owned).into_iter().fold(refusal, Refusal::with_advice).into())
    }

    /// Where tokens come from.
    fn token_advice(&self) -> String {
        match &self.origin {
            Origin::Profile { key: "admin_token", path } => format!(
                "the mesh does not accept admin_token of {} as an administrator's token: `fl up` writes one to \
                 .funless/config, and other meshes have it in their registry's configuration; set it with `fl cfg set \
                 admin_token -`, or give it with --token",
                path.display()
            ),
            Origin::Profile { key, path } => format!(
                "the mesh does not accept {key} of {}: `fl up` writes a token to .funless/config, and an administrator \
                 issues one with `fl admin user create NAME`; set it with `fl cfg set {key} -`, or give it with --token",
                path.display()
            ),
            Origin::Given => "the mesh does not accept the token of --token or FL_API_TOKEN, or the command takes an \
                              administrator's token (admin_token of the profile): `fl up` writes tokens to \
                              .funless/config, and an administrator issues one with `fl admin user create NAME`"
                .to_owned(),
        }
    }
}

/// What to do about a refusal.
fn advice(status: StatusCode, reason: Option<&str>, may_be_repeated: bool) -> Option<&'static str> {
    Some(match (status, reason) {
        (StatusCode::CONFLICT, None | Some("FUNCTION_EXISTS")) => {
            "the function already exists; replace it with `fl fn update`"
        }
        (StatusCode::CONFLICT, Some("SCRIPT_IN_USE")) => "--force deletes it anyway",
        (StatusCode::SERVICE_UNAVAILABLE, _) if may_be_repeated => "try again in a moment",
        (StatusCode::TOO_MANY_REQUESTS, _) => "the mesh is busy; try again in a moment",
        (StatusCode::GATEWAY_TIMEOUT, Some("DEADLINE_EXCEEDED")) => {
            "it took longer than its limit allows; see `fl fn logs`, and `limits.timeout_ms` of its metadata"
        }
        (StatusCode::REQUEST_TIMEOUT, _) => "the upload was too slow; try again, nearer to the mesh",
        _ => return None,
    })
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
    status: StatusCode,
    /// What was wrong and where, and what to do about it.
    pub message: Option<String>,
    /// What was wrong in general: the words of the REST surface, such as `Not Found`.
    detail: String,
    /// The reason as in `reason.proto`, without its prefix. Published FunLess gives none.
    pub reason: Option<String>,
}

impl Refusal {
    /// Whether what was named does not exist.
    pub fn is_not_found(&self) -> bool {
        self.status == StatusCode::NOT_FOUND
    }

    /// What was wrong: what and where if the mesh says so, and in general.
    pub fn words(&self) -> Option<String> {
        self.message.as_ref().map(|message| format!("{message} ({})", self.detail))
    }

    /// The refusal with a hint what to do about it.
    pub fn with_advice(self, advice: String) -> Self {
        let parts = [self.message, Some(advice)];
        let message = parts.into_iter().flatten().collect::<Vec<_>>().join("; ");
        Self { message: Some(message), ..self }
    }

    /// Reads `{"errors":{"detail":"...","message":"..."}}` or `{"errors":{"field":["...", ...]}}`.
    fn read(status: StatusCode, body: &str) -> Self {
        let body: Value = serde_json::from_str(body).unwrap_or_default();
        let Some(errors) = body.get("errors").and_then(Value::as_object) else {
            let detail =
                format!("the mesh answered {status} and gave no reason; is it the REST API of a mesh?");
            return Self { status, message: None, detail, reason: None };
        };
        let text = |key: &str| errors.get(key).and_then(Value::as_str).map(str::to_owned);
        let fields = errors.iter().filter_map(|(field, messages)| {
            let messages: Vec<_> = messages.as_array()?.iter().filter_map(Value::as_str).collect();
            Some(format!("{field} {}", messages.join(", ")))
        });
        let detail = text("detail").unwrap_or_else(|| fields.collect::<Vec<_>>().join("; "));
        Self { status, message: text("message"), detail, reason: text("reason") }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16, body: &str, headers: HeaderMap, origin: Origin) -> Refusal {
        let status = StatusCode::from_u16(status).expect("a status");
        let answer = Answer { status, headers, body: body.to_owned(), origin };
        answer.success().expect_err("a refusal").downcast().expect("the mesh's own")
    }

    #[test]
    fn only_what_was_not_done_is_to_be_tried_again() {
        let words = |status: u16, may_be_repeated| {
            let mut headers = HeaderMap::new();
            if may_be_repeated {
                headers.insert(RETRY_AFTER, "1".parse().expect("a value"));
            }
            let refusal = refused(status, r#"{"errors":{"detail":"why"}}"#, headers, Origin::Given);
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
            (
                "<html>",
                None,
                "the mesh answered 404 Not Found and gave no reason; is it the REST API of a mesh?",
            ),
        ] {
            let refusal = refused(404, body, HeaderMap::new(), Origin::Given);
            assert_eq!((refusal.message.as_deref(), &*refusal.detail), (message, detail));
            assert!(refusal.is_not_found());
        }
    }
}
