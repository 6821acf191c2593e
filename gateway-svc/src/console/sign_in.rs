//! Sign-in with a token or a one-time link, and sign-out.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse as _, Redirect, Response};
use http::header::{AUTHORIZATION, SET_COOKIE};
use http::{HeaderMap, HeaderValue, Method};
use mesh::auth::Secret;
use mesh::listener::ClientAddress;
use mesh::{Error, Reason};
use moka::sync::Cache;
use serde::{Deserialize, Serialize};

use super::Console;
use super::api::bearer;
use super::failure::Failure;
use super::layout;
use super::parts::escaped;
use super::session;
use super::visitor::{NoFields, Posted, Visitor, read_form, refuse_other_sites};

/// How long a link is valid.
const LINK_TTL: Duration = Duration::from_secs(600);
/// The maximum number of links that have not been used.
const MAX_LINKS: u64 = 100;
/// The maximum size of the form with a token.
const MAX_FORM_BYTES: usize = 4096;

/// The tokens of links that have not been used, by the code of the link. Clones share them.
#[derive(Debug, Clone)]
pub(super) struct Links(Cache<String, Secret>);

impl Default for Links {
    fn default() -> Self {
        Self(Cache::builder().max_capacity(MAX_LINKS).time_to_live(LINK_TTL).build())
    }
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct SignInQuery {
    /// The path of the page that needs a session.
    #[serde(default)]
    next: String,
}

#[derive(Deserialize)]
struct SignInForm {
    token: String,
    #[serde(default)]
    next: String,
}

/// A link that signs in once.
#[derive(Serialize)]
struct Link {
    path: String,
}

#[derive(Serialize)]
struct Data<T> {
    data: T,
}

/// The page with the form.
pub(super) async fn show(Query(SignInQuery { next }): Query<SignInQuery>) -> Response {
    layout::sign_in(&next, None).into_response()
}

/// Where a browser goes after it has signed in, with the session unless it did not keep the cookie.
pub(super) async fn check(
    Query(SignInQuery { next }): Query<SignInQuery>,
    visitor: Result<Visitor, Failure>,
) -> Response {
    match visitor {
        Ok(_) if is_own_path(&next) => Redirect::to(&next).into_response(),
        Ok(_) => Redirect::to("/console").into_response(),
        Err(_) => {
            let problem = "This browser did not keep the session. The console needs HTTPS, except at localhost and 127.0.0.1.";
            layout::sign_in(&next, Some(problem)).into_response()
        }
    }
}

/// Begins a session with the token of the form.
pub(super) async fn sign_in(State(console): State<Console>, request: Request) -> Result<Response, Failure> {
    let (parts, body) = request.into_parts();
    refuse_other_sites(&parts.headers)?;
    let body = axum::body::to_bytes(body, MAX_FORM_BYTES).await.map_err(|_| Failure::too_large())?;
    let SignInForm { token, next } = read_form(&body)?;
    let token = Secret::new(token.trim());
    match begin(&console, &token, parts.extensions.get().copied()).await {
        Ok(cookie) => Ok(signed_in(cookie, &next)),
        Err(error) if error.reason == Reason::Unauthenticated => {
            Ok(layout::sign_in(&next, Some("This token is unknown, revoked or expired.")).into_response())
        }
        Err(error) if error.reason == Reason::Overloaded => {
            Ok(layout::sign_in(&next, Some("Too many unknown tokens from this address; try again later."))
                .into_response())
        }
        Err(error) => Err(error.into()),
    }
}

/// Begins a session with a link, once.
pub(super) async fn follow_link(
    State(console): State<Console>,
    Path(code): Path<String>,
    method: Method,
    request: Request,
) -> Result<Response, Failure> {
    // A preview of the link does not use it.
    let token = match method {
        Method::GET => console.links.0.remove(&code),
        _ => None,
    };
    let Some(token) = token else {
        let problem = "This link has been used, or is older than 10 minutes. Sign in with a token.";
        return Ok(layout::sign_in("", Some(problem)).into_response());
    };
    let cookie = begin(&console, &token, request.extensions().get().copied()).await?;
    Ok(signed_in(cookie, ""))
}

/// Makes a link for the user whose token is in the header `authorization`.
pub(super) async fn create_link(
    State(console): State<Console>,
    request: Request,
) -> Result<Response, Failure> {
    let address = request.extensions().get().copied();
    let is_valid = console.authenticator.authenticate(request.headers(), address).await;
    let token = request.headers().get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    let token = token.and_then(|value| value.split_once(' ')).map(|(_, token)| token.trim());
    let (Ok(_), Some(token)) = (is_valid, token) else {
        return Err(Failure::forbidden("expected `Authorization: Bearer TOKEN` with a valid token"));
    };
    let code = Secret::random().expose().to_owned();
    let path = format!("/console/sign-in/{code}");
    console.links.0.insert(code, Secret::new(token));
    Ok(Json(Data { data: Link { path } }).into_response())
}

/// Ends the session of this browser.
pub(super) async fn sign_out(_: Posted<NoFields>) -> Response {
    let clear = ("clear-site-data", HeaderValue::from_static("\"storage\""));
    ([(SET_COOKIE.as_str(), session::end()), clear], Redirect::to("/console/sign-in")).into_response()
}

async fn begin(
    console: &Console,
    token: &Secret,
    address: Option<ClientAddress>,
) -> Result<HeaderValue, Error> {
    let unknown = || Error::new(Reason::Unauthenticated, "no token");
    let header = bearer(token).ok_or_else(unknown)?;
    let headers = HeaderMap::from_iter([(AUTHORIZATION, header)]);
    console.authenticator.authenticate(&headers, address).await?;
    console.sealer.begin(token.expose()).ok_or_else(|| Error::internal("cannot seal a session"))
}

fn signed_in(cookie: HeaderValue, next: &str) -> Response {
    let next = if is_own_path(next) { next } else { "/console" };
    let check = format!("/console/signed-in?next={}", escaped(next));
    ([(SET_COOKIE, cookie)], Redirect::to(&check)).into_response()
}

/// Whether this is a path of the console, and no other site.
fn is_own_path(path: &str) -> bool {
    let rest = path.strip_prefix("/console");
    let is_plain = path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'\\');
    is_plain && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(['/', '?']))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_paths_follow_sign_in() {
        for (path, expected) in [
            ("/console", true),
            ("/console/functions?q=a", true),
            ("/console?x", true),
            ("", false),
            ("//evil.example", false),
            ("https://evil.example/console", false),
            ("/consoles", false),
            ("/console/\\evil", false),
            ("/console\r\nX: y", false),
        ] {
            assert_eq!(is_own_path(path), expected, "{path}");
        }
    }
}
