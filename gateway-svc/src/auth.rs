//! Whose token a request carries.
//!
//! The registry knows; the gateway remembers its word for a few seconds, so that an invocation asks
//! no database and a revoked token still ends in time.

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

/// Tokens remembered at once, good and bad ones.
const MAX_CACHED: u64 = 10_000;
/// A longer one is not a token of ours.
const MAX_TOKEN_CHARS: usize = 512;
/// How long the registry may take to say whose token it is. With the longest time that its word is
/// remembered, this is how long a revoked token may live.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Tells who calls by the token.
#[derive(Debug, Clone)]
pub struct Authenticator {
    channels: Channels,
    /// By the token's hash, so that the tokens themselves are not kept. `None` is a refused token.
    known: Cache<Hash, Option<User>>,
}

#[derive(Debug, Clone)]
struct User {
    caller: Caller,
    /// Unix time in milliseconds; 0 is never.
    expires_at_ms: i64,
}

impl Authenticator {
    /// Asks the registry behind `channels` and remembers its word for `remember`.
    pub fn new(channels: Channels, remember: Duration) -> Self {
        Self { channels, known: Cache::builder().max_capacity(MAX_CACHED).time_to_live(remember).build() }
    }

    /// The user whose token is in `authorization`. Fails as UNAUTHENTICATED when there is none or
    /// it is not valid, and as UNAVAILABLE when the registry cannot be asked.
    pub async fn authenticate(&self, headers: &HeaderMap) -> Result<Caller, Error> {
        let token = bearer_token(headers).ok_or_else(unauthenticated)?;
        let asked = self.known.try_get_with(Hash::of(token.as_bytes()), self.ask(token)).await;
        let user = asked.map_err(|error: Arc<Error>| (*error).clone())?;
        match user {
            Some(user) if !user.has_expired() => Ok(user.caller),
            _ => Err(unauthenticated()),
        }
    }

    /// Ends when `authorization` is no longer good for `caller`, with the reason. A registry that cannot
    /// be asked is no reason.
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
            _ => Err(Error::unavailable(format!("nobody says whose token it is: {error}"))),
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

/// The token of the only `authorization` header: of two, each hop might believe another.
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
    fn a_token_ends_when_it_ends() {
        for (expires_at_ms, expired) in [(0, false), (1, true), (i64::MAX, false), (-1, true)] {
            let user = User { caller: Caller::Subject("ann".into()), expires_at_ms };
            assert_eq!(user.has_expired(), expired, "{expires_at_ms}");
        }
    }
}
