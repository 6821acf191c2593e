//! Times and sizes as people write them.

use std::fmt;

use bytesize::ByteSize;
use jiff::SignedDuration;
use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Bytes in a unit of capacity.
const KB: u64 = 1024;

/// A time in nanoseconds: text with a unit, such as `1.5s` or `200ms`; of numbers only 0 needs none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Time(pub u64);

/// A size in bytes: a number, or text with a unit, such as `512MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bytes(pub u64);

/// A size in KB: a number, or text with a unit, such as `64MiB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kilobytes(pub u64);

/// Nanoseconds as people read them.
pub fn time(nanos: u64) -> String {
    match nanos {
        0 => "0s".to_owned(),
        1..1_000_000 => format!("{:.1}us", nanos as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1}ms", nanos as f64 / 1e6),
        _ => seconds(nanos),
    }
}

/// Nanoseconds in seconds, to the millisecond.
pub fn seconds(nanos: u64) -> String {
    format!("{:.3}s", nanos as f64 / 1e9)
}

/// KB as people read them.
pub fn size(kb: u64) -> String {
    ByteSize(kb.saturating_mul(KB)).display().iec().to_string()
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer
            .deserialize_any(Quantity {
                expected: "a time with a unit, such as 1.5s or 200ms",
                of_text: |text| {
                    let time: SignedDuration = text.parse().ok()?;
                    u64::try_from(time.as_nanos()).ok()
                },
                of_number: |number| (number == 0).then_some(0),
            })
            .map(Self)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a number of bytes, or a size with a unit, such as 512MiB";
        deserializer.deserialize_any(Quantity { expected, of_text: bytes, of_number: Some }).map(Self)
    }
}

impl<'de> Deserialize<'de> for Kilobytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let expected = "a number of KB, or a size with a unit, such as 64MiB";
        let of_text = |text: &str| match text.parse() {
            Ok(kb) => Some(kb),
            Err(_) => bytes(text).map(|bytes| bytes.div_ceil(KB)),
        };
        deserializer.deserialize_any(Quantity { expected, of_text, of_number: Some }).map(Self)
    }
}

fn bytes(text: &str) -> Option<u64> {
    text.parse::<ByteSize>().ok().map(|size| size.as_u64())
}

/// Reads text or a number that is not negative.
struct Quantity {
    expected: &'static str,
    of_text: fn(&str) -> Option<u64>,
    of_number: fn(u64) -> Option<u64>,
}

impl Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        let quantity = (self.of_text)(text.trim());
        quantity.ok_or_else(|| E::custom(format!("{text:?}: expected {}", self.expected)))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        let quantity = (self.of_number)(number);
        quantity.ok_or_else(|| E::custom(format!("{number}: expected {}", self.expected)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        match u64::try_from(number) {
            Ok(number) => self.visit_u64(number),
            Err(_) => Err(E::custom(format!("{number}: expected {}", self.expected))),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn read<T: for<'de> Deserialize<'de>>(value: Value, take: fn(T) -> u64) -> Option<u64> {
        serde_json::from_value(value).ok().map(take)
    }

    #[test]
    fn times_have_units() {
        let cases = [
            (json!("1.5s"), Some(1_500_000_000)),
            (json!("200ms"), Some(200_000_000)),
            (json!("1m 30s"), Some(90_000_000_000)),
            (json!(" 7us "), Some(7_000)),
            (json!("3ns"), Some(3)),
            (json!(0), Some(0)),
            (json!(5), None),
            (json!("5"), None),
            (json!("-1s"), None),
            (json!("soon"), None),
            (json!(1.5), None),
            (json!(true), None),
        ];
        for (value, expected) in cases {
            assert_eq!(read(value.clone(), |Time(nanos)| nanos), expected, "{value}");
        }
    }

    #[test]
    fn sizes_are_numbers_or_have_units() {
        let cases = [
            (json!("512MiB"), Some(512 << 20), Some(512 << 10)),
            (json!("1.5 GiB"), Some(3 << 29), Some(3 << 19)),
            (json!("1 kB"), Some(1000), Some(1)),
            (json!(2048), Some(2048), Some(2048)),
            (json!("2048"), Some(2048), Some(2048)),
            (json!("much"), None, None),
            (json!(-1), None, None),
            (json!([]), None, None),
        ];
        for (value, bytes, kb) in cases {
            assert_eq!(read(value.clone(), |Bytes(bytes)| bytes), bytes, "{value}");
            assert_eq!(read(value.clone(), |Kilobytes(kb)| kb), kb, "{value}");
        }
    }

    #[test]
    fn quantities_have_a_fitting_unit() {
        let cases = [(0, "0s"), (1500, "1.5us"), (2_340_000, "2.3ms"), (61_500_000_000, "61.500s")];
        for (nanos, expected) in cases {
            assert_eq!(time(nanos), expected);
        }
        for (kb, expected) in [(0, "0 B"), (64, "64.0 KiB"), (1536, "1.5 MiB"), (u64::MAX, "16.0 EiB")] {
            assert_eq!(size(kb), expected);
        }
    }
}
