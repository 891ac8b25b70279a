//! How many sends an endpoint is given at a time.
//!
//! Pure. The limit starts at 4. It grows by one after a full window of successes, if as much was under way as it
//! allows: only a limit that was reached says anything about what lies above it. It does not grow while windows take
//! twice as long as the quickest did: then sends wait for one another, at the receiver or here, and more of them at a
//! time would only wait longer, and make all others wait who share this machine. It halves when the receiver asks
//! for less or cannot be reached, and shrinks by a tenth when a whole window took clearly longer than windows did.
//! After trouble it starts at one and doubles, window by window, up to what it was.

use std::time::Duration;

/// At the start.
pub(crate) const START: u32 = 4;
const MIN: f64 = 1.0;
const MAX: f64 = 64.0;
/// The weight of the newest window in the mean.
const EWMA: f64 = 0.4;
/// How many deviations above the mean are clearly longer.
const DEVIATIONS: f64 = 2.5;
/// How much longer than the quickest window one may take that lets the limit grow.
const CROWDED: f64 = 2.0;
/// What is not worth looking at, in seconds: less than that is noise.
const NOISE: f64 = 0.001;
/// By which part the quickest window is forgotten each second: a receiver may have become slower for good.
const FORGETS: f64 = 0.01;
/// Windows before the mean says something.
const WINDOWS_MIN: u32 = 4;

/// The limit, and what it learned.
#[derive(Debug, Clone)]
pub(super) struct Limit {
    limit: f64,
    /// Where the ramp leads; `None` when there is none.
    ramp_to: Option<f64>,
    /// Whether as much was under way as it allows, since it last changed.
    is_reached: bool,
    successes: u32,
    /// How long the sends of this window took in all.
    took: Duration,
    /// Mean and variance of what windows took, in seconds.
    mean: f64,
    variance: f64,
    /// What the quickest window took, in seconds.
    quickest: f64,
    windows: u32,
}

impl Default for Limit {
    fn default() -> Self {
        Self {
            limit: f64::from(START),
            ramp_to: None,
            is_reached: false,
            successes: 0,
            took: Duration::ZERO,
            mean: 0.0,
            variance: 0.0,
            quickest: 0.0,
            windows: 0,
        }
    }
}

impl Limit {
    /// Most sends at a time.
    pub(super) fn get(&self) -> u32 {
        self.limit as u32
    }

    /// A send began, and so many are under way now.
    pub(super) fn began(&mut self, in_flight: u32) {
        self.is_reached |= in_flight >= self.get();
    }

    /// The receiver answered, and is well.
    pub(super) fn succeeded(&mut self, took: Duration) {
        if !self.is_reached {
            return;
        }
        self.successes += 1;
        self.took += took;
        if self.successes < self.get() {
            return;
        }
        let mean = self.took.as_secs_f64() / f64::from(self.successes);
        let is_slow = self.is_slow(mean);
        self.learn(mean);
        self.limit = match self.ramp_to {
            _ if is_slow => self.limit * 0.9,
            Some(to) => (self.limit * 2.0).min(to),
            None if self.is_crowded(mean) => self.limit,
            None => self.limit + 1.0,
        }
        .clamp(MIN, MAX);
        self.ramp_to = self.ramp_to.filter(|to| self.limit < *to);
        self.begin_window();
    }

    /// The receiver asks for less, or cannot be reached.
    pub(super) fn failed(&mut self) {
        self.limit = (self.limit / 2.0).max(MIN);
        self.ramp_to = None;
        self.begin_window();
    }

    /// Starts at one and doubles up to `former`, or to what it is if that is more.
    pub(super) fn ramp(&mut self, former: u32) {
        self.ramp_to = Some(f64::from(former).max(self.limit).clamp(f64::from(START), MAX));
        self.limit = MIN;
        self.begin_window();
    }

    /// Whether it forgets nothing that matters when it is dropped.
    pub(super) fn is_usual(&self) -> bool {
        self.ramp_to.is_none() && self.limit >= f64::from(START)
    }

    fn begin_window(&mut self) {
        self.is_reached = false;
        self.successes = 0;
        self.took = Duration::ZERO;
    }

    fn is_slow(&self, mean: f64) -> bool {
        // What is a millisecond or a twentieth longer is noise, however steady it was before.
        let noise = (self.mean * 0.05).max(NOISE);
        self.windows >= WINDOWS_MIN && mean >= self.mean + DEVIATIONS * self.variance.sqrt().max(noise)
    }

    fn is_crowded(&self, mean: f64) -> bool {
        mean > (self.quickest * CROWDED).max(self.quickest + NOISE)
    }

    /// Mean and variance as in West (1979) and Finch (2009), with exponential weights.
    fn learn(&mut self, mean: f64) {
        self.windows = self.windows.saturating_add(1);
        if self.windows == 1 {
            (self.mean, self.quickest) = (mean, mean);
            return;
        }
        // A window took about as long as each of its sends.
        self.quickest = mean.min(self.quickest * (1.0 + FORGETS * mean));
        let off = mean - self.mean;
        self.mean += EWMA * off;
        self.variance = (1.0 - EWMA) * (self.variance + EWMA * off * off);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    /// Fills the limit once and lets all succeed.
    fn window(limit: &mut Limit, took: Duration) -> u32 {
        let n = limit.get();
        limit.began(n);
        (0..n).for_each(|_| limit.succeeded(took));
        n
    }

    #[test]
    fn grows_by_one_after_each_full_window_and_halves_on_trouble() {
        let mut limit = Limit::default();
        assert_eq!((0..4).map(|_| window(&mut limit, MS)).collect::<Vec<_>>(), [4, 5, 6, 7]);
        for _ in 0..100 {
            window(&mut limit, MS);
        }
        assert_eq!(limit.get(), 64);
        limit.failed();
        assert_eq!(limit.get(), 32);
        (0..20).for_each(|_| limit.failed());
        assert_eq!(limit.get(), 1, "a receiver in trouble is asked one at a time");
        assert!(!limit.is_usual());
    }

    #[test]
    fn does_not_grow_unless_it_was_reached() {
        let mut limit = Limit::default();
        (0..1_000).for_each(|_| {
            limit.began(3);
            limit.succeeded(MS);
        });
        assert_eq!(limit.get(), 4);
    }

    #[test]
    fn shrinks_by_a_tenth_when_a_window_takes_clearly_longer() {
        let mut limit = Limit::default();
        for n in 0..36 {
            window(&mut limit, MS * (20 + n % 3));
        }
        assert_eq!(limit.get(), 40);
        window(&mut limit, MS * 25);
        assert_eq!(limit.get(), 36);
        window(&mut limit, MS * 21);
        assert_eq!(limit.get(), 37);
    }

    #[test]
    fn noise_does_not_shrink_it() {
        let mut limit = Limit::default();
        for n in 0..100 {
            window(&mut limit, Duration::from_micros(300 + 200 * (n % 2)));
        }
        assert_eq!(limit.get(), 64);
    }

    #[test]
    fn does_not_grow_while_sends_wait_for_one_another() {
        let mut limit = Limit::default();
        // Who answers two at a time, in 5 ms each, and us with more than that under way.
        for _ in 0..60 {
            let crowd = limit.get().div_ceil(2);
            window(&mut limit, MS * 5 * crowd);
        }
        assert_eq!(limit.get(), 9, "from four, which take 10 ms, until it takes more than 20 ms");
        for _ in 0..60 {
            window(&mut limit, MS * 5);
        }
        assert_eq!(limit.get(), 64, "the receiver got more hands");
    }

    #[test]
    fn a_receiver_that_became_slower_for_good_is_asked_more_again() {
        let mut limit = Limit::default();
        for _ in 0..6 {
            window(&mut limit, MS * 20);
        }
        let slow = (0..3_000).map(|_| window(&mut limit, MS * 60)).collect::<Vec<_>>();
        let (soon, minutes_later) = (slow[50], slow[2_999]);
        assert!(soon <= 10, "{soon}");
        assert_eq!(minutes_later, 64);
    }

    #[test]
    fn ramps_from_one_by_doubling_to_what_it_was() {
        let mut limit = Limit::default();
        for _ in 0..20 {
            window(&mut limit, MS);
        }
        let former = limit.get();
        limit.failed();
        limit.ramp(former);
        assert_eq!((0..7).map(|_| window(&mut limit, MS)).collect::<Vec<_>>(), [1, 2, 4, 8, 16, 24, 25]);
        limit.ramp(64);
        limit.failed();
        assert_eq!((window(&mut limit, MS), window(&mut limit, MS)), (1, 2), "trouble ends a ramp");
        assert_eq!(limit.get(), 3);
    }

    proptest::proptest! {
        #[test]
        fn stays_between_one_and_the_most(ends in proptest::collection::vec((0_u8..4, 0_u64..10_000), 0..500)) {
            let mut limit = Limit::default();
            for (end, ms) in ends {
                match end {
                    0 => limit.failed(),
                    1 => limit.ramp(ms as u32),
                    2 => { limit.began(64); limit.succeeded(MS * ms as u32) }
                    _ => drop(window(&mut limit, MS * ms as u32)),
                }
                assert!((1..=64).contains(&limit.get()));
            }
        }
    }
}
