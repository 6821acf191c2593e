//! The time of day, and how clients read it.

mod steps;

use std::time::{SystemTime, UNIX_EPOCH};

pub use self::steps::{ago_ms, changes, follow};

/// Unix time in milliseconds.
pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}

/// A time in Unix milliseconds, as RFC 3339.
pub fn rfc_3339(unix_ms: i64) -> String {
    let nanos = i32::try_from(unix_ms.rem_euclid(1000)).unwrap_or_default() * 1_000_000;
    prost_types::Timestamp { seconds: unix_ms.div_euclid(1000), nanos }.to_string()
}

/// A time in Unix microseconds, as RFC 3339.
pub fn rfc_3339_us(unix_us: i64) -> String {
    let nanos = i32::try_from(unix_us.rem_euclid(1_000_000)).unwrap_or_default() * 1000;
    prost_types::Timestamp { seconds: unix_us.div_euclid(1_000_000), nanos }.to_string()
}

/// Like [`rfc_3339`]; `None` for 0, which stands for no time.
pub fn rfc_3339_if_any(unix_ms: i64) -> Option<String> {
    (unix_ms != 0).then(|| rfc_3339(unix_ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_readable() {
        assert_eq!(rfc_3339(0), "1970-01-01T00:00:00Z");
        assert_eq!(rfc_3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc_3339(-1), "1969-12-31T23:59:59.999Z");
        assert_eq!(rfc_3339_us(1_700_000_000_123_456), "2023-11-14T22:13:20.123456Z");
        assert_eq!(rfc_3339_if_any(0), None);
    }
}
