//! Authentication: the user whose token a request carries.
//!
//! The registry verifies tokens. The gateway caches the results for a few seconds, so that invocations cause
//! no database queries and a revoked token is still refused in time. While the registry cannot be reached, a token that
//! it has confirmed stays valid for a grace period. Addresses that present unknown tokens are delayed
//! (`unknown_tokens`).

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use http::HeaderMap;
use http::header::AUTHORIZATION;
use mesh::contact::RegistryContact;
use mesh::deadline::Deadline;
use mesh::hash::Hash;
use mesh::listener::ClientAddress;
use mesh::metrics::int_counter;
use mesh::{Caller, Error, Reason};
use moka::{future, sync};
use prometheus::{IntCounterVec, Registry};
use proto::registry::v1::{AuthenticateRequest, Subject};
use tokio::time::Instant;

use crate::Config;
use crate::clients::Channels;
use crate::unknown_tokens::UnknownTokens;

/// The maximum number of tokens whose last result is cached, and of valid tokens that are remembered for the grace
/// period.
const MAX_CACHED: u64 = 10_000;
/// The maximum length of a token.
const MAX_TOKEN_CHARS: usize = 512;
/// The timeout of the registry's answer. Together with the maximum cache time, it limits how long a revoked
/// token is accepted.
const TIMEOUT: Duration = Duration::from_secs(1);

/// Identifies the caller by the token. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Authenticator(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    channels: Channels,
    contact: RegistryContact,
    cache_ttl: Duration,
    grace: Duration,
    /// The registry's last answers, by the token's hash, so that the tokens themselves are not kept. Concurrent requests
    /// with one token share an answer.
    answers: future::Cache<Hash, Answer>,
    /// The tokens that the registry has confirmed. Unknown tokens, however many, do not displace them.
    confirmed: sync::Cache<Hash, Confirmed>,
    unknown: UnknownTokens,
    checks: IntCounterVec,
}

/// What the registry said about a token; `None` is an invalid one.
#[derive(Debug, Clone)]
struct Answer {
    user: Result<Option<User>, Error>,
    at: Instant,
}

#[derive(Debug, Clone)]
struct Confirmed {
    user: User,
    at: Instant,
}

#[derive(Debug, Clone)]
struct User {
    caller: Caller,
    /// Unix time in milliseconds; 0 means never.
    expires_at_ms: i64,
}

/// How a token was accepted.
#[derive(Debug, Clone, Copy)]
enum Acceptance {
    /// The registry has confirmed it within the cache time.
    Verified,
    /// The registry cannot be reached, and has confirmed it before.
    Unverified,
}

/// Why a request was refused.
#[derive(Debug)]
enum Refusal {
    /// It has no well-formed token.
    Missing,
    /// The token is unknown, revoked or expired.
    Invalid,
    /// Its address has presented too many unknown tokens, and must wait for this long.
    Throttled(Duration),
    /// The token cannot be verified.
    Unavailable(Error),
}

impl Refusal {
    const LABELS: [&str; 4] = ["missing", "invalid", "throttled", "unavailable"];

    fn label(&self) -> &'static str {
        let [missing, invalid, throttled, unavailable] = Self::LABELS;
        match self {
            Self::Missing => missing,
            Self::Invalid => invalid,
            Self::Throttled(_) => throttled,
            Self::Unavailable(_) => unavailable,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Missing | Refusal::Invalid => unauthenticated(),
            Refusal::Throttled(wait) => {
                Self::overloaded("too many unknown tokens from this address; known ones are accepted", wait)
            }
            Refusal::Unavailable(error) => error,
        }
    }
}

impl Acceptance {
    const LABELS: [&str; 2] = ["valid", "unverified"];

    fn label(self) -> &'static str {
        let [valid, unverified] = Self::LABELS;
        match self {
            Self::Verified => valid,
            Self::Unverified => unverified,
        }
    }
}

impl Authenticator {
    /// Verifies tokens with the registry behind `channels`, whose `contact` may be lost.
    pub(crate) fn new(
        config: &Config,
        channels: Channels,
        contact: RegistryContact,
        metrics: &Registry,
    ) -> Self {
        let help = "Checks of tokens by outcome.";
        let checks = int_counter(metrics, "funless_gateway_token_checks_total", help, &["outcome"]);
        for label in Acceptance::LABELS.into_iter().chain(Refusal::LABELS) {
            checks.with_label_values(&[label]);
        }
        Self(Arc::new(Inner {
            channels,
            contact,
            cache_ttl: Duration::from_secs(config.token_cache_s),
            grace: Duration::from_secs(config.token_grace_s),
            answers: future::Cache::new(MAX_CACHED),
            confirmed: sync::Cache::new(MAX_CACHED),
            unknown: UnknownTokens::new(config.max_unknown_tokens, metrics),
            checks,
        }))
    }

    /// The user whose token is in the header `authorization` of a request from `address`. Fails as UNAUTHENTICATED if
    /// there is no valid token, as UNAVAILABLE if it cannot be verified, and as OVERLOADED if the address has presented
    /// too many unknown tokens.
    pub(crate) async fn authenticate(
        &self,
        headers: &HeaderMap,
        address: Option<ClientAddress>,
    ) -> Result<Caller, Error> {
        let checked = match bearer_token(headers) {
            Some(token) => self.0.check(token, address).await,
            None => Err(Refusal::Missing),
        };
        let label = match &checked {
            Ok((_, acceptance)) => acceptance.label(),
            Err(refusal) => refusal.label(),
        };
        self.0.checks.with_label_values(&[label]).inc();
        Ok(checked?.0)
    }

    /// Verifies the token repeatedly, at intervals of `every`. Completes with an error once it is no longer
    /// valid for `caller`. A registry that cannot be reached does not invalidate it.
    pub(crate) async fn revoked(&self, headers: &HeaderMap, caller: &Caller, every: Duration) -> Error {
        loop {
            tokio::time::sleep(every).await;
            match self.authenticate(headers, None).await {
                Ok(now) if now == *caller => {}
                Err(error) if error.reason != Reason::Unauthenticated => {}
                Ok(_) | Err(_) => return unauthenticated(),
            }
        }
    }
}

impl Inner {
    async fn check(
        &self,
        token: &str,
        address: Option<ClientAddress>,
    ) -> Result<(Caller, Acceptance), Refusal> {
        let key = Hash::of(token.as_bytes());
        let last = self.answers.get(&key).await;
        let was_refused = last.as_ref().is_some_and(|last| matches!(last.user, Ok(None)));
        let answer = match (self.contact.lost_since(), last) {
            (Some(_), _) if was_refused => return Err(Refusal::Invalid),
            (Some(since), _) => return self.remembered(&key, since, RegistryContact::error()),
            (None, Some(last)) if self.is_fresh(&last) => last,
            (None, _) => self.ask_unless_throttled(key, token, address, was_refused).await?,
        };
        match answer.user {
            Ok(Some(user)) => Ok((user.unless_expired()?, Acceptance::Verified)),
            Ok(None) => Err(Refusal::Invalid),
            Err(error) => self.remembered(&key, Instant::now(), error),
        }
    }

    fn is_fresh(&self, answer: &Answer) -> bool {
        answer.user.is_ok() && answer.at.elapsed() < self.cache_ttl
    }

    /// Accepts a token that cannot be verified because of `error` if the registry has confirmed it within the grace
    /// period before the outage, and the outage, which began at `since`, is not longer than that either.
    fn remembered(&self, key: &Hash, since: Instant, error: Error) -> Result<(Caller, Acceptance), Refusal> {
        let is_good = |known: &Confirmed| {
            since.saturating_duration_since(known.at) <= self.grace && since.elapsed() <= self.grace
        };
        match self.confirmed.get(key).filter(is_good) {
            Some(known) => Ok((known.user.unless_expired()?, Acceptance::Unverified)),
            None => Err(Refusal::Unavailable(error)),
        }
    }

    /// Asks the registry. A token that it has confirmed before is never throttled, and one that it has refused before is
    /// not counted again.
    async fn ask_unless_throttled(
        &self,
        key: Hash,
        token: &str,
        address: Option<ClientAddress>,
        was_refused: bool,
    ) -> Result<Answer, Refusal> {
        let attempt = match self.confirmed.contains_key(&key) {
            true => None,
            false => Some(self.unknown.attempt(address, Instant::now()).map_err(Refusal::Throttled)?),
        };
        let entry =
            self.answers.entry(key).or_insert_with_if(self.ask(token), |last| !self.is_fresh(last)).await;
        let is_new = entry.is_fresh();
        let answer = entry.into_value();
        match (&answer.user, attempt) {
            (Ok(Some(user)), _) => {
                self.confirmed.insert(key, Confirmed { user: user.clone(), at: answer.at });
            }
            (Ok(None), attempt) => {
                self.confirmed.invalidate(&key);
                if let Some(attempt) = attempt.filter(|_| is_new && !was_refused) {
                    attempt.failed(Instant::now());
                }
            }
            (Err(_), _) => {}
        }
        Ok(answer)
    }

    async fn ask(&self, token: &str) -> Answer {
        let at = Instant::now();
        let request = Deadline::after(TIMEOUT).attach(AuthenticateRequest { token: token.to_owned() });
        let user = match self.channels.authentication().authenticate(request).await {
            Ok(response) => Ok(response.into_inner().subject.and_then(User::of)),
            Err(status) => match Error::from(status) {
                error if error.reason == Reason::Unauthenticated => Ok(None),
                error if matches!(error.reason, Reason::Overloaded | Reason::Unavailable) => Err(error),
                error => Err(Error::unavailable(format!("cannot verify the token: {error}"))),
            },
        };
        Answer { user, at }
    }
}

impl User {
    fn of(subject: Subject) -> Option<Self> {
        let expires_at_ms = subject.expires_at_ms;
        Some(Self { caller: Caller::user(subject.role(), subject.name)?, expires_at_ms })
    }

    fn unless_expired(self) -> Result<Caller, Refusal> {
        match self.has_expired() {
            true => Err(Refusal::Invalid),
            false => Ok(self.caller),
        }
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
