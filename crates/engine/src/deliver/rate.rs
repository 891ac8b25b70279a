//! How often something may be sent: a rate with a burst of one second.
//!
//! Pure: the generic cell rate algorithm (ITU-T I.371), which is a token bucket that keeps one moment instead of a
//! count. An endpoint has one, and so has a partner for all of its endpoints.

use std::time::Duration;

use roundtrip_domain::rate::Rate;

/// How much may be sent at once after a rest.
const BURST: Duration = Duration::from_secs(1);

/// A bucket.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    rate: Option<Rate>,
    /// When the bucket is full again.
    full_at: Duration,
}

impl Bucket {
    /// Sets the rate; `None` lets everything pass.
    pub(super) fn set(&mut self, rate: Option<Rate>) {
        self.rate = rate;
    }

    /// When one may be sent; now or earlier is at once.
    pub(super) fn ready_at(&self, now: Duration) -> Duration {
        let Some(rate) = self.rate else { return now };
        // Slower than one a second, one at a time is the least burst.
        let burst = BURST.max(rate.interval());
        (self.full_at.max(now) + rate.interval()).saturating_sub(burst).max(now)
    }

    /// One is sent.
    pub(super) fn take(&mut self, now: Duration) {
        if let Some(rate) = self.rate {
            self.full_at = self.full_at.max(now) + rate.interval();
        }
    }

    /// Gives one back that was not sent after all.
    pub(super) fn give_back(&mut self) {
        if let Some(rate) = self.rate {
            self.full_at = self.full_at.saturating_sub(rate.interval());
        }
    }

    /// Whether it is as full as a new one.
    pub(super) fn is_full(&self, now: Duration) -> bool {
        self.full_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many are sent from `from` on in so many milliseconds, asking every millisecond.
    fn sent(bucket: &mut Bucket, from: u64, ms: u64) -> u32 {
        let mut n = 0;
        for ms in from..from + ms {
            let now = Duration::from_millis(ms);
            while bucket.ready_at(now) <= now {
                bucket.take(now);
                n += 1;
                assert!(n < 1_000_000);
            }
        }
        n
    }

    fn bucket(per_s: f64) -> Bucket {
        Bucket { rate: Rate::per_s(per_s), ..Bucket::default() }
    }

    #[test]
    fn a_second_at_once_and_then_the_rate() {
        let mut ten = bucket(10.0);
        assert_eq!(sent(&mut ten, 0, 1), 10, "the burst");
        assert_eq!(sent(&mut ten, 1, 1_000), 10);
        assert_eq!(sent(&mut ten, 1_001, 10_000), 100);
        assert_eq!(sent(&mut ten, 99_000, 1), 10, "a rest fills no more than a burst");
        let mut slow = bucket(0.1);
        assert_eq!(sent(&mut slow, 0, 30_000), 3, "one every ten seconds");
        let mut fast = bucket(10_000.0);
        assert_eq!(sent(&mut fast, 0, 2_000), 29_990);
        fast.set(None);
        assert_eq!(fast.ready_at(Duration::ZERO), Duration::ZERO, "none is no limit");
    }

    #[test]
    fn what_was_not_sent_is_given_back() {
        let mut one = bucket(1.0);
        let now = Duration::from_secs(9);
        one.take(now);
        assert_eq!(one.ready_at(now), Duration::from_secs(10));
        one.give_back();
        assert_eq!(one.ready_at(now), now);
        assert!(one.is_full(now));
    }

    proptest::proptest! {
        #[test]
        fn never_more_than_the_rate_and_a_burst(thousandths in 100_u32..200_000, steps in proptest::collection::vec(0_u64..3_000, 1..100)) {
            let per_s = f64::from(thousandths) / 1_000.0;
            let mut bucket = bucket(per_s);
            let (mut now, mut n) = (Duration::ZERO, 0_u32);
            for step in steps {
                now += Duration::from_millis(step);
                while bucket.ready_at(now) <= now {
                    bucket.take(now);
                    n += 1;
                }
                assert!(f64::from(n) <= per_s.max(1.0) + per_s * now.as_secs_f64() + 1e-3);
            }
        }
    }
}
