//! Extractors: who visits a page, and the forms that they send.

use axum::extract::{FromRequest, FromRequestParts, Request};
use http::HeaderMap;
use http::request::Parts;
use mesh::auth::Secret;
use mesh::{Caller, Error};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Console;
use super::api::{Api, bearer};
use super::failure::Failure;

/// The form field with the secret of the session.
pub(super) const CSRF: &str = "csrf";
/// How a browser says which site made a request.
const SEC_FETCH_SITE: &str = "sec-fetch-site";

/// A user with a session.
pub(super) struct Visitor {
    pub(super) api: Api,
    pub(super) caller: Caller,
    pub(super) csrf: Secret,
    pub(super) console: Console,
}

impl Visitor {
    pub(super) fn is_admin(&self) -> bool {
        matches!(self.caller, Caller::Admin(_))
    }

    /// Begins a subscription, which the returned future ends.
    pub(super) fn subscribe(&self) -> Result<impl Future<Output = Error> + Send + use<>, Failure> {
        Ok(self.console.subscriptions.begin(self.api.headers(), self.caller.clone())?)
    }
}

impl FromRequestParts<Console> for Visitor {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, console: &Console) -> Result<Self, Failure> {
        let path = parts.uri.path_and_query().map_or("/console", |path| path.as_str()).to_owned();
        let signed_out = || Failure::signed_out(&path);
        let session = console.sealer.session(&parts.headers).ok_or_else(signed_out)?;
        let authorization = bearer(&session.token).ok_or_else(signed_out)?;
        let address = parts.extensions.get().copied();
        let api = Api::new(console.rest.clone(), authorization, address);
        let caller = console.authenticator.authenticate(&api.headers(), address).await;
        let caller = caller.map_err(|error| match error.reason {
            mesh::Reason::Unauthenticated => signed_out(),
            _ => error.into(),
        })?;
        Ok(Self { api, caller, csrf: session.csrf, console: console.clone() })
    }
}

/// A form that a page of the visitor's session sent.
pub(super) struct Posted<T> {
    pub(super) visitor: Visitor,
    pub(super) form: T,
}

/// A form without fields of its own.
#[derive(Deserialize)]
pub(super) struct NoFields {}

#[derive(Deserialize)]
struct Csrf {
    #[serde(default)]
    csrf: String,
}

impl<T: DeserializeOwned> FromRequest<Console> for Posted<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, console: &Console) -> Result<Self, Failure> {
        let (mut parts, body) = request.into_parts();
        refuse_other_sites(&parts.headers)?;
        let visitor = Visitor::from_request_parts(&mut parts, console).await?;
        let body =
            axum::body::to_bytes(body, console.max_form_bytes).await.map_err(|_| Failure::too_large())?;
        let Csrf { csrf } = read_form(&body)?;
        if !visitor.csrf.is(csrf.as_bytes()) {
            return Err(forged());
        }
        Ok(Self { visitor, form: read_form(&body)? })
    }
}

/// Reads a form.
pub(super) fn read_form<T: DeserializeOwned>(body: &[u8]) -> Result<T, Failure> {
    serde_urlencoded::from_bytes(body)
        .map_err(|error| Failure::bad_request(format!("the form is invalid: {error}")))
}

/// The form is not of a page of this session.
pub(super) fn forged() -> Failure {
    Failure::forbidden("the form is not of this session; load the page again and repeat what you did")
}

/// Refuses a form that a page of another site sent. Browsers say which; other clients have no reason to forge.
pub(super) fn refuse_other_sites(headers: &HeaderMap) -> Result<(), Failure> {
    match headers.get(SEC_FETCH_SITE).map(|site| site.as_bytes()) {
        None | Some(b"same-origin" | b"none") => Ok(()),
        Some(_) => Err(forged()),
    }
}
