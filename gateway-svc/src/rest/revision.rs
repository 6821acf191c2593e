//! Read-your-writes: the revision of the registry that a client has seen.

use axum::extract::FromRequestParts;
use axum::response::{IntoResponseParts, ResponseParts};
use http::request::Parts;
use http::{HeaderName, HeaderValue};

use super::Rest;
use super::error::ApiError;
use crate::revision::LatestRevision;

/// In the response to a write: the registry's revision that contains it. In an invocation: the minimum
/// revision that it needs, for a client that wrote through another gateway.
pub(super) const REVISION: HeaderName = HeaderName::from_static(mesh::REVISION_HEADER);

impl LatestRevision {
    /// Notes the revision of a write and returns it for the response.
    pub(super) fn wrote(&self, revision: u64) -> Revision {
        self.note(revision);
        Revision(revision)
    }

    /// The minimum revision that a request needs.
    pub(super) fn at_least(&self, Revision(client): Revision) -> u64 {
        self.get().max(client)
    }
}

/// A revision in a header; 0 if there is none.
#[derive(Debug, Clone, Copy)]
pub(super) struct Revision(u64);

impl Revision {
    /// The revision; 0 if there is none.
    pub(super) fn number(self) -> u64 {
        self.0
    }
}

impl FromRequestParts<Rest> for Revision {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Rest) -> Result<Self, ApiError> {
        let Some(value) = parts.headers.get(REVISION) else { return Ok(Self(0)) };
        let revision = value.to_str().ok().and_then(|text| text.parse().ok());
        revision.map(Self).ok_or_else(not_a_revision)
    }
}

fn not_a_revision() -> ApiError {
    ApiError::bad_request("expected a whole number in X-FunLess-Revision, as an earlier response had it")
}

impl IntoResponseParts for Revision {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut response: ResponseParts) -> Result<ResponseParts, Self::Error> {
        response.headers_mut().insert(REVISION, HeaderValue::from(self.0));
        Ok(response)
    }
}

#[cfg(test)]
mod tests {
    use mesh::contact::RegistryContact;

    use super::*;

    #[test]
    fn the_highest_revision_is_kept() {
        let contact = RegistryContact::new(&prometheus::Registry::new());
        let latest = LatestRevision::new(contact.clone());
        latest.wrote(7);
        latest.wrote(5);
        assert_eq!(latest.at_least(Revision(0)), 7);
        assert_eq!(latest.at_least(Revision(9)), 9);
        assert_eq!(latest.at_least(Revision(0)), 7, "a client's revision affects only its own request");
        contact.set(false);
        assert_eq!(latest.at_least(Revision(0)), 0, "nobody can catch up during an outage");
        assert_eq!(latest.at_least(Revision(5)), 5, "but a client may insist");
    }
}
