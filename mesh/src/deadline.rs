//! Deadlines: how long a caller waits.
//!
//! A deadline is sent as `grpc-timeout`, the time that is left. The server stack turns it into a [`Deadline`]
//! in the request's extensions and ends the handler when it passes. A handler passes the remaining time on to
//! the services that it calls.

use std::time::Duration;

use tokio::time::Instant;

/// The gRPC header of the time that is left.
pub const GRPC_TIMEOUT: &str = "grpc-timeout";

/// The time after which the caller no longer waits for the response.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline(Instant);

impl Deadline {
    /// The deadline `timeout` from now.
    pub fn after(timeout: Duration) -> Self {
        Self(Instant::now() + timeout)
    }

    /// The request's deadline, if its caller set one.
    pub fn of<T>(request: &tonic::Request<T>) -> Option<Self> {
        request.extensions().get().copied()
    }

    /// The request's deadline, at most `timeout` from now.
    pub fn of_at_most<T>(request: &tonic::Request<T>, timeout: Duration) -> Self {
        let own = Self::after(timeout);
        Self::of(request).map_or(own, |callers| callers.min(own))
    }

    /// The time that is left; zero if the deadline has passed.
    pub fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// The deadline minus `time`.
    #[must_use]
    pub fn earlier(self, time: Duration) -> Self {
        Self(self.0.checked_sub(time).unwrap_or(self.0))
    }

    /// The deadline as an `Instant`, for `tokio::time::timeout_at`.
    pub fn instant(self) -> Instant {
        self.0
    }

    /// The remaining time, as a `grpc-timeout`.
    pub fn to_header(self) -> http::HeaderValue {
        /// A `grpc-timeout` has at most eight digits.
        const MAX_MS: u128 = 99_999_999;
        let ms = self.remaining().as_millis().min(MAX_MS);
        http::HeaderValue::try_from(format!("{ms}m")).expect("digits and a letter")
    }

    /// A request with the remaining time as its timeout.
    pub fn attach<T>(self, message: T) -> tonic::Request<T> {
        let mut request = tonic::Request::new(message);
        request.set_timeout(self.remaining());
        request
    }
}

/// Reads a `grpc-timeout`: at most eight digits and a unit.
pub fn parse_grpc_timeout(value: &str) -> Option<Duration> {
    let unit = value.chars().last().filter(char::is_ascii)?;
    let digits = &value[..value.len() - 1];
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        'H' => Duration::from_secs(amount * 3600),
        'M' => Duration::from_secs(amount * 60),
        'S' => Duration::from_secs(amount),
        'm' => Duration::from_millis(amount),
        'u' => Duration::from_micros(amount),
        'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parses_grpc_timeouts() {
        let cases = [
            ("1S", Some(Duration::from_secs(1))),
            ("100m", Some(Duration::from_millis(100))),
            ("2H", Some(Duration::from_secs(7200))),
            ("99999999n", Some(Duration::from_nanos(99_999_999))),
            ("123456789n", None),
            ("S", None),
            ("-1S", None),
            ("1x", None),
            ("1é", None),
            ("", None),
        ];
        for (text, expected) in cases {
            assert_eq!(parse_grpc_timeout(text), expected, "{text:?}");
        }
    }
}
