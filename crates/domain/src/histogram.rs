//! Durations counted in buckets whose width grows with them, so that percentiles of millions cost a few rows.
//!
//! A bucket is a small number: below four, the value itself; above, four buckets for each doubling. A percentile is
//! the middle of its bucket, so it is at most an eighth off, whatever the size. The unit is the caller's.

use std::collections::BTreeMap;

/// Counts by bucket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Histogram {
    counts: BTreeMap<u16, i64>,
}

/// The bucket of a value; negative ones count as zero. At most 247.
pub fn bucket(value: i64) -> u16 {
    let value = value.max(0) as u64;
    if value < 4 {
        return value as u16;
    }
    let doublings = 63 - value.leading_zeros();
    let quarter = (value >> (doublings - 2)) & 3;
    (4 * (doublings - 1)) as u16 + quarter as u16
}

/// The value in the middle of a bucket, rounded down.
pub fn middle(bucket: u16) -> i64 {
    if bucket < 4 {
        return i64::from(bucket);
    }
    let shift = u32::from(bucket / 4 - 1).min(60);
    let first = u64::from(4 + bucket % 4) << shift;
    let width = 1_u64 << shift;
    i64::try_from(first + (width - 1) / 2).unwrap_or(i64::MAX)
}

impl Histogram {
    /// Counts so many values of a bucket; negative numbers take them away.
    pub fn add(&mut self, bucket: u16, count: i64) {
        let entry = self.counts.entry(bucket).or_default();
        *entry += count;
        if *entry == 0 {
            self.counts.remove(&bucket);
        }
    }

    /// Adds all of another one.
    pub fn merge(&mut self, other: &Self) {
        for (bucket, count) in &other.counts {
            self.add(*bucket, *count);
        }
    }

    /// How many values were counted.
    pub fn total(&self) -> i64 {
        self.counts.values().sum()
    }

    /// The value that so many of 1,000 do not exceed, to within an eighth; `None` while nothing was counted.
    pub fn permille(&self, permille: i64) -> Option<i64> {
        let total = self.total();
        if total <= 0 {
            return None;
        }
        // The rank of the value, from 1: at least one value is at or below it.
        let rank = (i128::from(total) * i128::from(permille.clamp(0, 1_000)) + 999) / 1_000;
        let rank = (rank as i64).max(1);
        let mut seen = 0;
        for (bucket, count) in &self.counts {
            seen += count;
            if seen >= rank {
                return Some(middle(*bucket));
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn buckets_are_in_order_and_have_no_gaps() {
        let mut last = 0;
        for value in 0..100_000 {
            let at = bucket(value);
            assert!(at == last || at == last + 1, "{value}");
            last = at;
        }
        assert_eq!(bucket(-5), 0);
        assert_eq!(bucket(i64::MAX), 247);
        assert!(middle(247) > i64::MAX / 2 && middle(u16::MAX) > 0);
    }

    #[test]
    fn percentiles_are_ranks() {
        let mut all = Histogram::default();
        assert_eq!(all.permille(500), None);
        for value in [1, 2, 3, 3] {
            all.add(bucket(value), 1);
        }
        assert_eq!([0, 250, 251, 500, 501, 1_000].map(|p| all.permille(p)), [1, 1, 2, 2, 3, 3].map(Some));
        all.add(bucket(3), -2);
        assert_eq!((all.total(), all.permille(1_000)), (2, Some(2)));
    }

    proptest! {
        #[test]
        fn a_percentile_is_at_most_an_eighth_off(mut values in prop::collection::vec(0_i64..10_000_000_000, 1..200), permille in 1_i64..=1000) {
            let mut all = Histogram::default();
            for value in &values {
                all.add(bucket(*value), 1);
            }
            values.sort_unstable();
            let exact = values[((values.len() as i64 * permille + 999) / 1_000 - 1) as usize];
            let told = all.permille(permille).unwrap();
            prop_assert!((told - exact).abs() <= exact / 8 + 1, "{} told, {} exact", told, exact);
        }
    }
}
