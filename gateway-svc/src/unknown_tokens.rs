//! A growing delay for addresses that present unknown tokens.
//!
//! After a number of unknown tokens, further ones from the address are refused without asking the registry, each time
//! for longer. Tokens that the registry has confirmed before are not affected: several clients can share an address.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use mesh::listener::ClientAddress;
use mesh::metrics::read_gauge;
use parking_lot::Mutex;
use prometheus::Registry;
use tokio::time::Instant;

/// The first delay; each further unknown token doubles it ...
const FIRST_DELAY: Duration = Duration::from_secs(1);
/// ... up to this one.
const MAX_DELAY: Duration = Duration::from_secs(300);
/// An address that presents no unknown token for this long after its delay is forgotten.
const FORGET_AFTER: Duration = Duration::from_secs(600);
/// How many unknown tokens of an address the registry is asked about at once. A proxy's address has many clients.
const MAX_AT_ONCE: u32 = 64;
/// How long clients wait when there are more.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// The maximum number of addresses. When there are more, those with the fewest unknown tokens are forgotten.
const MAX_ADDRESSES: usize = 10_000;

/// The unknown tokens of each address. Requests that come through a Unix socket share one.
#[derive(Debug)]
pub(crate) struct UnknownTokens {
    /// How many unknown tokens an address may present before it is delayed; 0: any number.
    max: u32,
    by_address: Arc<Mutex<HashMap<Option<ClientAddress>, Record>>>,
}

#[derive(Debug, Clone, Copy)]
struct Record {
    unknown: u32,
    /// The number of running attempts.
    attempts: u32,
    last: Instant,
    delayed_until: Instant,
}

impl Record {
    fn is_forgotten(&self, now: Instant) -> bool {
        self.attempts == 0 && now.saturating_duration_since(self.last.max(self.delayed_until)) > FORGET_AFTER
    }
}

impl UnknownTokens {
    /// Delays addresses after `max` unknown tokens; 0: never. Registers a gauge of the delayed addresses.
    pub(crate) fn new(max: u32, metrics: &Registry) -> Self {
        let by_address = Arc::new(Mutex::new(HashMap::<_, Record>::new()));
        let records = Arc::clone(&by_address);
        let help = "Addresses whose unknown tokens are delayed.";
        read_gauge(metrics, "funless_gateway_throttled_addresses", help, &[], move || {
            let now = Instant::now();
            let is_delayed = |record: &&Record| max > 0 && record.unknown > max && !record.is_forgotten(now);
            records.lock().values().filter(is_delayed).count() as f64
        });
        Self { max, by_address }
    }

    /// Begins to ask the registry about a token from `address` that is not known to be valid. Otherwise returns how long
    /// the client has to wait.
    pub(crate) fn attempt(
        &self,
        address: Option<ClientAddress>,
        now: Instant,
    ) -> Result<Attempt<'_>, Duration> {
        let mut records = self.by_address.lock();
        if !records.contains_key(&address) {
            make_room(&mut records, now);
        }
        let fresh = Record { unknown: 0, attempts: 0, last: now, delayed_until: now };
        let record = records.entry(address).or_insert(fresh);
        if record.is_forgotten(now) {
            *record = fresh;
        }
        let wait = record.delayed_until.saturating_duration_since(now);
        if !wait.is_zero() {
            return Err(wait);
        }
        let at_once = if self.is_over(record) { 1 } else { MAX_AT_ONCE };
        if self.max > 0 && record.attempts >= at_once {
            return Err(RETRY_AFTER);
        }
        record.attempts += 1;
        Ok(Attempt { tokens: self, address })
    }

    fn is_over(&self, record: &Record) -> bool {
        self.max > 0 && record.unknown > self.max
    }

    fn failed(&self, address: Option<ClientAddress>, now: Instant) {
        let mut records = self.by_address.lock();
        let Some(record) = records.get_mut(&address) else { return };
        record.unknown = record.unknown.saturating_add(1);
        record.last = now;
        if !self.is_over(record) {
            return;
        }
        let doublings = record.unknown - self.max - 1;
        let delay = FIRST_DELAY.saturating_mul(2_u32.saturating_pow(doublings)).min(MAX_DELAY);
        record.delayed_until = record.delayed_until.max(now + delay);
        drop(records);
        if doublings == 0 {
            let address = address.map_or("a Unix socket".to_owned(), |address| address.to_string());
            tracing::warn!(address, "an address presents many unknown tokens; further ones are delayed");
        }
    }
}

/// A running question to the registry about a token.
#[derive(Debug)]
pub(crate) struct Attempt<'t> {
    tokens: &'t UnknownTokens,
    address: Option<ClientAddress>,
}

impl Attempt<'_> {
    /// The registry does not know the token.
    pub(crate) fn failed(self, now: Instant) {
        self.tokens.failed(self.address, now);
    }
}

impl Drop for Attempt<'_> {
    fn drop(&mut self) {
        let mut records = self.tokens.by_address.lock();
        if let Some(record) = records.get_mut(&self.address) {
            record.attempts = record.attempts.saturating_sub(1);
            if record.attempts == 0 && record.unknown == 0 {
                records.remove(&self.address);
            }
        }
    }
}

/// Makes room for another address.
fn make_room(records: &mut HashMap<Option<ClientAddress>, Record>, now: Instant) {
    if records.len() < MAX_ADDRESSES {
        return;
    }
    records.retain(|_, record| !record.is_forgotten(now));
    if records.len() < MAX_ADDRESSES {
        return;
    }
    // A quarter at once, so that this is rare.
    let mut ranks: Vec<_> = records.values().map(|record| (record.unknown, record.last)).collect();
    let (_, last_to_go, _) = ranks.select_nth_unstable(MAX_ADDRESSES / 4);
    let last_to_go = *last_to_go;
    records.retain(|_, record| (record.unknown, record.last) > last_to_go);
}

#[cfg(test)]
mod tests {
    use std::net::IpAddr;

    use super::*;

    fn address(text: &str) -> Option<ClientAddress> {
        Some(text.parse::<IpAddr>().expect("an address").into())
    }

    fn with_max(max: u32) -> (UnknownTokens, Registry) {
        let metrics = Registry::new();
        (UnknownTokens::new(max, &metrics), metrics)
    }

    /// Presents an unknown token. Returns how long the address has to wait, if the registry is not asked.
    fn present(tokens: &UnknownTokens, from: &str, now: Instant) -> Option<u64> {
        match tokens.attempt(address(from), now) {
            Ok(attempt) => {
                attempt.failed(now);
                None
            }
            Err(wait) => Some(wait.as_secs()),
        }
    }

    #[test]
    fn the_delay_grows_to_a_bound() {
        let (tokens, _) = with_max(2);
        let began = Instant::now();
        // The time in seconds, and the expected wait.
        let cases = [
            (0, None),
            (0, None),
            (0, None),
            (0, Some(1)),
            (1, None),
            (1, Some(2)),
            (2, Some(1)),
            (3, None),
            (3, Some(4)),
            (7, None),
            (15, None),
            (31, None),
            (63, None),
            (127, None),
            (255, None),
            (511, None),
            (511, Some(300)),
            (811, None),
            (811, Some(300)),
            // Forgotten, ten minutes after the delay.
            (811 + 300 + 601, None),
            (811 + 300 + 601, None),
            (811 + 300 + 601, None),
            (811 + 300 + 601, Some(1)),
        ];
        for (line, (seconds, expected)) in cases.into_iter().enumerate() {
            let now = began + Duration::from_secs(seconds);
            assert_eq!(present(&tokens, "192.0.2.1", now), expected, "line {line}, after {seconds} s");
        }
    }

    #[test]
    fn addresses_are_delayed_one_by_one() {
        let (tokens, metrics) = with_max(1);
        let now = Instant::now();
        let delayed = || metrics.gather()[0].get_metric()[0].get_gauge().get_value();
        for _ in 0..2 {
            assert_eq!(present(&tokens, "2001:db8::1", now), None);
        }
        assert_eq!(present(&tokens, "2001:db8::2", now), Some(1), "of the same network");
        assert_eq!(present(&tokens, "2001:db8:0:1::1", now), None, "of another network");
        assert_eq!(present(&tokens, "192.0.2.1", now), None);
        assert_eq!(delayed(), 1.0);
        let (unlimited, _) = with_max(0);
        assert!((0..1000).all(|_| present(&unlimited, "192.0.2.1", now).is_none()));
    }

    #[test]
    fn attempts_at_once_are_limited() {
        let (tokens, _) = with_max(1);
        let now = Instant::now();
        let attempts: Vec<_> = (0..MAX_AT_ONCE).map(|_| tokens.attempt(None, now)).collect();
        assert!(attempts.iter().all(Result::is_ok));
        assert_eq!(tokens.attempt(None, now).err(), Some(RETRY_AFTER));
        drop(attempts);
        assert!(tokens.by_address.lock().is_empty(), "valid tokens leave no trace");
        for _ in 0..2 {
            tokens.attempt(None, now).expect("asked").failed(now);
        }
        let later = now + FIRST_DELAY;
        let _one = tokens.attempt(None, later).expect("the delay is over");
        assert_eq!(tokens.attempt(None, later).err(), Some(RETRY_AFTER), "one at a time");
    }

    #[test]
    fn the_table_is_bounded_and_keeps_the_worst() {
        let (tokens, _) = with_max(1);
        let now = Instant::now();
        for _ in 0..2 {
            assert_eq!(present(&tokens, "192.0.2.1", now), None);
        }
        for number in 0..(3 * MAX_ADDRESSES) {
            let from = format!("10.{}.{}.{}", number >> 16, (number >> 8) & 255, number & 255);
            assert_eq!(present(&tokens, &from, now + Duration::from_millis(number as u64 / 100)), None);
            assert!(tokens.by_address.lock().len() <= MAX_ADDRESSES);
        }
        assert_eq!(present(&tokens, "192.0.2.1", now + Duration::from_millis(300)), Some(0));
    }
}
