//! A histogram of durations whose buckets grow with the duration: four for each power of two.

/// Buckets for each power of two; their bits select one.
const BITS: u32 = 2;
const PER_POWER: u64 = 1 << BITS;

/// How often durations occurred. The error of a quantile is at most a quarter of it.
#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    /// As long as the largest duration needs.
    counts: Vec<u32>,
}

impl Latencies {
    pub(super) fn add(&mut self, us: u64) {
        let bucket = bucket(us);
        if self.counts.len() <= bucket {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] = self.counts[bucket].saturating_add(1);
    }

    /// The duration in microseconds that this share of all durations does not exceed. 0 if there are none.
    pub(super) fn quantile(&self, share: f64) -> u64 {
        let all: u64 = self.counts.iter().map(|count| u64::from(*count)).sum();
        let wanted = ((all as f64 * share).ceil() as u64).max(1);
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= wanted {
                return upper_end(bucket);
            }
        }
        0
    }
}

/// The bucket of a duration. The first ones have one value each.
fn bucket(us: u64) -> usize {
    if us < PER_POWER {
        return us as usize;
    }
    let power = us.ilog2();
    let within = (us >> (power - BITS)) & (PER_POWER - 1);
    (u64::from(power - BITS + 1) * PER_POWER + within) as usize
}

/// The largest duration of a bucket.
fn upper_end(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < PER_POWER {
        return bucket;
    }
    let (power, within) = (bucket / PER_POWER - 1 + u64::from(BITS), bucket % PER_POWER);
    let width = 1u128 << (power - u64::from(BITS));
    let end = (1u128 << power) + (u128::from(within) + 1) * width - 1;
    u64::try_from(end).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_are_contiguous_and_narrow() {
        for us in (0..5_000).chain([1 << 40, u64::MAX - 1, u64::MAX]) {
            let end = upper_end(bucket(us));
            assert!(us <= end && end - us <= us / 4, "{us} is in the bucket up to {end}");
            assert!(end == u64::MAX || bucket(end + 1) == bucket(us) + 1, "after {end}");
        }
    }

    #[test]
    fn quantiles() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.5), 0);
        for us in 1..=1_000 {
            latencies.add(us);
        }
        for (share, exact) in [(0.0, 1), (0.5, 500), (0.99, 990), (1.0, 1_000)] {
            let given = latencies.quantile(share);
            assert!((exact..=exact + exact / 4).contains(&given), "{share} is {given}, not about {exact}");
        }
    }
}
