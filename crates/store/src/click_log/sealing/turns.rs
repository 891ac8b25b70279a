//! Whose turn it is among things that lie in buckets, when some of them fail.
//!
//! A bucket in which something failed is left alone for a while, longer each time it happens again, up to a minute. What
//! failed comes again behind all others of its bucket. So neither an object that cannot be deleted nor a bucket that is
//! away for ever keeps the others waiting, and no step asks the same bucket in vain more than once.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// The longest pause before something is tried again in a bucket.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Not to ask a bucket all the time that did not do what it was asked.
#[derive(Default)]
struct Patience {
    until: Option<Instant>,
    pause: Duration,
}

impl Patience {
    fn is_over(&self) -> bool {
        self.until.is_none_or(|until| Instant::now() >= until)
    }

    fn failed(&mut self, first: Duration) {
        self.pause = (self.pause * 2).clamp(first, PAUSE_MAX.max(first));
        self.until = Some(Instant::now() + self.pause);
    }
}

/// What was tried, by the number that it goes by, and in which buckets.
#[derive(Default)]
pub(super) struct Turns<K> {
    /// What failed since the others of its bucket had their turn.
    failed: BTreeSet<K>,
    buckets: BTreeMap<String, Patience>,
}

impl<K: Ord + Clone> Turns<K> {
    /// The place of the first of these, which are all that there are, each with its bucket, whose turn it is; none in the
    /// buckets that are `left_out`. `None`: nothing is to be tried now.
    pub(super) fn next(&mut self, all: &[(K, &str)], left_out: &BTreeSet<String>) -> Option<usize> {
        self.failed.retain(|key| all.iter().any(|(k, _)| k == key));
        let may = |bucket: &str| {
            !left_out.contains(bucket) && self.buckets.get(bucket).is_none_or(Patience::is_over)
        };
        let fresh = all.iter().position(|(key, bucket)| may(bucket) && !self.failed.contains(key));
        if fresh.is_some() {
            return fresh;
        }
        // All had their turn.
        for (key, _) in all.iter().filter(|(_, bucket)| may(bucket)) {
            self.failed.remove(key);
        }
        all.iter().position(|(_, bucket)| may(bucket))
    }

    /// It failed. `first` is the first pause of its bucket.
    pub(super) fn failed(&mut self, key: K, bucket: &str, first: Duration) {
        self.failed.insert(key);
        self.buckets.entry(bucket.to_owned()).or_default().failed(first);
    }

    /// It is done, so its bucket does what it is asked.
    pub(super) fn done(&mut self, key: &K, bucket: &str) {
        self.failed.remove(key);
        self.buckets.remove(bucket);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_comes_behind_the_others_and_a_bucket_behind_its_pause() {
        let (mut turns, none) = (Turns::default(), BTreeSet::new());
        let all = [(1, "a"), (2, "a"), (3, "a"), (4, "b")];
        let mut came = Vec::new();
        for _ in 0..8 {
            let Some(at) = turns.next(&all, &none) else { panic!("there is no pause") };
            came.push(all[at].0);
            turns.failed(all[at].0, all[at].1, Duration::ZERO);
        }
        assert_eq!(came, [1, 2, 3, 4, 1, 2, 3, 4], "each in turn");
        let mut turns = Turns::default();
        turns.failed(1, "a", Duration::from_secs(600));
        assert_eq!(turns.next(&all, &none), Some(3), "the other bucket is well");
        assert_eq!(turns.next(&all, &BTreeSet::from(["b".to_owned()])), None, "it was tried already");
        turns.done(&4, "b");
        assert_eq!(turns.next(&all[..3], &none), None, "this one is left alone");
        turns.done(&2, "a");
        assert_eq!(turns.next(&all, &none), Some(1), "something else was done there");
    }

    #[test]
    fn pauses_grow_to_a_minute_and_end_with_what_is_done() {
        let mut patience = Patience::default();
        let pauses = (0..8).map(|_| {
            patience.failed(Duration::from_secs(5));
            patience.pause.as_secs()
        });
        assert_eq!(pauses.collect::<Vec<_>>(), [5, 10, 20, 40, 60, 60, 60, 60]);
    }
}
