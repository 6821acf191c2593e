//! A histogram for people: few buckets, whose bounds are 1, 2 and 5 times powers of ten.

use hdrhistogram::Histogram;

/// Latencies in a range.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bucket {
    /// The longest latency in it, in microseconds.
    pub up_to_us: u64,
    pub count: u64,
}

/// The buckets from the shortest latency to the longest, in microseconds. Those in between may be empty.
pub fn of(latency: &Histogram<u64>) -> Vec<Bucket> {
    if latency.is_empty() {
        return Vec::new();
    }
    // What was recorded is known to some digits; a bound belongs to the bucket below it.
    let (min, max) = (latency.min(), latency.max());
    let skipped = bounds().take_while(|bound| *bound < min).count();
    let mut before = 0;
    let mut buckets = Vec::new();
    for up_to_us in bounds().skip(skipped) {
        let count = latency.count_between(0, up_to_us) - before;
        before += count;
        buckets.push(Bucket { up_to_us, count });
        if up_to_us >= max || before == latency.len() {
            break;
        }
    }
    buckets
}

/// 1, 2, 5, 10, 20, 50, and so on.
fn bounds() -> impl Iterator<Item = u64> {
    (0..)
        .map_while(|exponent| 10_u64.checked_pow(exponent))
        .flat_map(|power| [1, 2, 5].map(|n| power.saturating_mul(n)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_go_from_the_shortest_to_the_longest() {
        let buckets = |latencies: &[u64]| {
            let mut histogram = Histogram::new_with_bounds(1, 3_600_000_000, 3).expect("bounds");
            latencies.iter().for_each(|us| histogram.record(*us).expect("in bounds"));
            of(&histogram).iter().map(|bucket| (bucket.up_to_us, bucket.count)).collect::<Vec<_>>()
        };
        assert_eq!(buckets(&[]), []);
        assert_eq!(buckets(&[7]), [(10, 1)]);
        assert_eq!(buckets(&[1]), [(1, 1)]);
        assert_eq!(buckets(&[150, 200, 201, 3000]), [(200, 2), (500, 1), (1000, 0), (2000, 0), (5000, 1)]);
        assert_eq!(buckets(&[3_600_000_000]), [(5_000_000_000, 1)]);
    }
}
