//! Authentication: the user whose token a request carries.
//!
//! The registry verifies tokens. The gateway caches the results for a few seconds, so that invocations cause
//! no database queries and a revoked token is still refused in time.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use mesh::deadline::Deadline;
use mesh::hash::Hash;
use mesh::{Caller, Error, Reason};
use moka::future::Cache;
use proto::registry::v1::{AuthenticateRequest, Subject};

use crate::clients::Channels;

/// The maximum number of cached tokens, both valid and invalid.
const MAX_CACHED: u64 = 10_000;
/// The maximum length of a token.
const MAX_TOKEN_CHARS: usize = 512;
/// The timeout of the registry's answer. Together with the maximum cache time, it limits how long a revoked
/// token is accepted.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Identifies the caller by the token.
#[derive(Debug, Clone)]
pub struct Authenticator {
    channels: Channels,
    /// Users by the token's hash, so that the tokens themselves are not kept. `None` is an invalid token.
    known: Cache<Hash, Option<User>>,
}

#[derive(Debug, Clone)]
struct User {
    caller: Caller,
    /// Unix time in milliseconds; 0 means never.
    expires_at_ms: i64,
}

impl Authenticator {
    /// Verifies tokens with the registry and caches the results for `cache_ttl`.
    pub fn new(channels: Channels, cache_ttl: Duration) -> Self {
        Self { channels, known: Cache::builder().max_capacity(MAX_CACHED).time_to_live(cache_ttl).build() }
    }

    /// The user whose token is in the header `authorization`. Fails as UNAUTHENTICATED if there is no valid
    /// token, and as UNAVAILABLE if the registry cannot be reached.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let token = bearer_token(headers).ok_or_else(unauthenticated)?;
        let looked_up = self.known.try_get_with(Hash::of(token.as_bytes()), self.ask(token)).await;
        let user = looked_up.map_err(|error: Arc<Error>| (*error).clone())?;
        match user {
            Some(user) if !user.has_expired() => Ok(user.caller),
            _ => Err(unauthenticated()),
        }
    }

    /// Verifies the token repeatedly, at intervals of `every`. Completes with an error once it is no longer
    /// valid for `caller`. A registry that cannot be reached does not invalidate it.
    pub async fn revoked(&self, headers: &HeaderMap, caller: &Caller, every: Duration) -> Error {
        loop {
            tokio::time::sleep(every).await;
            match self.authenticate(headers).await {
                Ok(now) if now == *caller => {}
                Err(error) if error.reason != Reason::Unauthenticated => {}
                Ok(_) | Err(_) => return unauthenticated(),
            }
        }
    }

    async fn ask(&self, token: &str) -> Result<Option<User>, Error> {
        let request = Deadline::after(TIMEOUT).attach(AuthenticateRequest { token: token.to_owned() });
        let error = match self.channels.authentication().authenticate(request).await {
            Ok(response) => return Ok(response.into_inner().subject.and_then(User::of)),
            Err(status) => Error::from(status),
        };
        match error.reason {
            Reason::Unauthenticated => Ok(None),
            Reason::Overloaded => Err(error),
            _ => Err(Error::unavailable(format!("cannot verify the token: {error}"))),
        }
    }
}

impl User {
    fn of(subject: Subject) -> Option<Self> {
        let expires_at_ms = subject.expires_at_ms;
        Some(Self { caller: Caller::user(subject.role(), subject.name)?, expires_at_ms })
    }

    fn has_expired(&self) -> bool {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        self.expires_at_ms != 0 && u128::try_from(self.expires_at_ms).unwrap_or(0) <= now.as_millis()
    }
}

fn unauthenticated() -> Error {
    Error::new(Reason::Unauthenticated, "expected `authorization: Bearer TOKEN` with a valid token")
}

/// The token of the `authorization` header. Two such headers are refused: another hop might read the other
/// one.
fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    let token = token.trim();
    let well_formed = scheme.eq_ignore_ascii_case("bearer")
        && (1..=MAX_TOKEN_CHARS).contains(&token.len())
        && !token.contains(char::is_whitespace);
    well_formed.then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_bearer_tokens_only() {
        let long = format!("Bearer {}", "x".repeat(MAX_TOKEN_CHARS + 1));
        let cases = [
            ("Bearer abc", Some("abc")),
            ("bearer  abc ", Some("abc")),
            ("Bearer", None),
            ("Bearer ", None),
            ("Bearer a b", None),
            ("Basic abc", None),
            ("abc", None),
            (long.as_str(), None),
        ];
        for (value, expected) in cases {
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, value.parse().expect("a header"));
            assert_eq!(bearer_token(&headers), expected, "{value:?}");
        }
        assert_eq!(bearer_token(&HeaderMap::new()), None);
        let mut twice = HeaderMap::new();
        twice.append(AUTHORIZATION, "Bearer abc".parse().expect("a header"));
        twice.append(AUTHORIZATION, "Bearer abc".parse().expect("a header"));
        assert_eq!(bearer_token(&twice), None);
    }

    #[test]
    fn expired_tokens_are_refused() {
        for (expires_at_ms, expired) in [(0, false), (1, true), (i64::MAX, false), (-1, true)] {
            let user = User { caller: Caller::Subject("ann".into()), expires_at_ms };
            assert_eq!(user.has_expired(), expired, "{expires_at_ms}");
        }
    }
}
