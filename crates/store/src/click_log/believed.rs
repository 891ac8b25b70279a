//! Which time is believed where something is deleted for its age.
//!
//! A clock that runs ahead by months for a minute must not cost months of clicks. So a moment is believed that a steady
//! run leads to: the last one that was believed, and the time that passed since by the clock that nobody sets. The wall
//! clock may be up to [`AHEAD_MAX`] ahead of that. Once it has gone steadily for a while, whatever it shows is believed:
//! after an hour where it is near, after two days where it is far, as it is after a long time out of use. It errs on the
//! side of keeping: what is to be deleted is deleted late, never early by more than [`AHEAD_MAX`].
//!
//! The caller tells both clocks and keeps what is believed for the next start. Not relied on: moments in the files, which
//! a wrong clock may have written.

use std::time::Duration;

use roundtrip_domain::time::{Span, Timestamp};

/// How far ahead of what a steady run leads to the wall clock may be.
pub(super) const AHEAD_MAX: Span = Span::from_days(2);
/// How long the wall clock must have gone steadily to be believed where it is not further ahead than that.
const NEAR_AFTER: Duration = Duration::from_secs(3_600);
/// The same where it is.
const FAR_AFTER: Duration = Duration::from_secs(2 * 86_400);
/// By how much the two clocks may differ in the meantime and the wall clock count as not set: time services draw a clock
/// near by less.
const DRIFT_MAX_MS: i64 = 600_000;

/// What is believed, and how the clocks went since.
#[derive(Debug)]
pub(super) struct Belief {
    /// A moment that was believed, and what the steady clock showed then.
    anchor: (Timestamp, Duration),
    /// What the wall clock showed when it was set last, as far as anybody looked, and the steady clock then.
    set: (Timestamp, Duration),
    /// Whether it was said that the wall clock is not believed.
    said: bool,
}

/// What a look at the clocks came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Looked {
    /// By this time things are deleted for their age. Never after what the wall clock shows.
    pub(super) believed: Timestamp,
    /// To be kept for the next start.
    pub(super) keep: Option<Timestamp>,
    /// By how many milliseconds the wall clock is ahead of what is believed of it; said once for each time it is set.
    pub(super) ahead_ms: Option<i64>,
}

impl Belief {
    /// At a start: `known` was believed, by an earlier run.
    pub(super) const fn new(known: Timestamp, now: Timestamp, steady: Duration) -> Self {
        Self { anchor: (known, steady), set: (now, steady), said: false }
    }

    /// Where the time that passed leads to.
    fn led_to(from: (Timestamp, Duration), steady: Duration) -> i64 {
        from.0.ms().saturating_add(passed_ms(from.1, steady))
    }

    /// What is believed of `now`, without looking closer.
    pub(super) fn of(&self, now: Timestamp, steady: Duration) -> Timestamp {
        let most = Self::led_to(self.anchor, steady).saturating_add(AHEAD_MAX.ms());
        now.min(Timestamp::from_ms(most))
    }

    /// Looks at the clocks. To be asked at least every few hours.
    pub(super) fn look(&mut self, now: Timestamp, steady: Duration) -> Looked {
        if now.ms().abs_diff(Self::led_to(self.set, steady)) > DRIFT_MAX_MS.unsigned_abs() {
            self.set = (now, steady);
            self.said = false;
        }
        let ahead_ms = now.ms().saturating_sub(Self::led_to(self.anchor, steady));
        let is_far = ahead_ms > AHEAD_MAX.ms();
        let held = steady.saturating_sub(self.set.1);
        if held >= if is_far { FAR_AFTER } else { NEAR_AFTER } {
            self.anchor = (now, steady);
            self.set = (now, steady);
            self.said = false;
            return Looked { believed: now, keep: Some(now), ahead_ms: None };
        }
        let is_news = is_far && !std::mem::replace(&mut self.said, is_far);
        let ahead_ms = is_news.then_some(ahead_ms);
        Looked { believed: self.of(now, steady), keep: None, ahead_ms }
    }
}

fn passed_ms(since: Duration, steady: Duration) -> i64 {
    i64::try_from(steady.saturating_sub(since).as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const START: Timestamp = Timestamp::from_ms(1_780_565_000_000);
    const HOUR: i64 = 3_600_000;
    const DAY: i64 = 24 * HOUR;

    /// A wall clock that can be set, and one that cannot.
    struct Clocks {
        wall: Timestamp,
        steady: Duration,
        belief: Belief,
    }

    impl Clocks {
        fn new(known: Timestamp) -> Self {
            Self { wall: START, steady: Duration::ZERO, belief: Belief::new(known, START, Duration::ZERO) }
        }

        fn pass(&mut self, ms: i64) {
            self.wall = self.wall.plus_ms(ms);
            self.steady += Duration::from_millis(ms.unsigned_abs());
        }

        fn look(&mut self) -> Looked {
            self.belief.look(self.wall, self.steady)
        }

        /// Lets time pass as a server does, which looks every minute.
        fn run(&mut self, ms: i64) -> Looked {
            for _ in 0..ms / 60_000 {
                self.pass(60_000);
                self.look();
            }
            self.look()
        }
    }

    #[test]
    fn a_clock_that_goes_right_is_believed_to_the_millisecond() {
        let mut clocks = Clocks::new(START);
        for _ in 0..400 {
            clocks.pass(DAY);
            assert_eq!(clocks.look().believed, clocks.wall);
            assert_eq!(clocks.belief.of(clocks.wall, clocks.steady), clocks.wall);
        }
    }

    #[test]
    fn months_ahead_for_a_minute_are_not_believed_and_said_once() {
        let mut clocks = Clocks::new(START);
        clocks.run(5 * HOUR);
        let right = clocks.wall;
        clocks.wall = right.plus_ms(90 * DAY);
        let looked = clocks.look();
        assert_eq!((looked.believed, looked.ahead_ms), (right.plus_ms(2 * DAY), Some(90 * DAY)));
        assert_eq!(clocks.look().ahead_ms, None, "it is said once");
        clocks.pass(60_000);
        assert!(clocks.look().believed <= right.plus_ms(2 * DAY + 60_000));
        clocks.wall = right.plus_ms(60_000);
        assert_eq!(clocks.look().believed, clocks.wall, "right again");
        // Again and again, and never for long: nothing adds up.
        for _ in 0..200 {
            clocks.wall = clocks.wall.plus_ms(40 * HOUR);
            clocks.run(30 * 60_000);
            clocks.wall = clocks.wall.plus_ms(-40 * HOUR);
            clocks.run(30 * 60_000);
        }
        let right = clocks.wall;
        clocks.wall = right.plus_ms(90 * DAY);
        assert!(clocks.look().believed <= right.plus_ms(2 * DAY + HOUR), "{:?}", clocks.belief);
    }

    #[test]
    fn after_a_long_time_out_of_use_the_clock_is_believed_in_the_end() {
        let mut clocks = Clocks::new(START.plus_ms(-300 * DAY));
        assert_eq!(clocks.look().believed, START.plus_ms(-298 * DAY));
        clocks.run(47 * HOUR);
        assert!(clocks.look().believed < START.plus_ms(-295 * DAY));
        let looked = clocks.run(2 * HOUR);
        assert_eq!(looked.believed, clocks.wall, "it went steadily for two days");
        assert_eq!(clocks.run(HOUR).believed, clocks.wall);
    }

    #[test]
    fn what_is_kept_is_renewed_every_hour_and_a_clock_that_was_set_back_is_followed() {
        let mut clocks = Clocks::new(START);
        let kept: Vec<Timestamp> = (0..180)
            .filter_map(|_| {
                clocks.pass(60_000);
                clocks.look().keep
            })
            .collect();
        assert_eq!(kept, [1, 2, 3].map(|n| START.plus_ms(n * HOUR)));
        clocks.wall = clocks.wall.plus_ms(-30 * DAY);
        assert_eq!(clocks.look().believed, clocks.wall);
        clocks.run(HOUR);
        let right = clocks.wall;
        clocks.wall = right.plus_ms(30 * DAY);
        assert_eq!(clocks.look().believed, right.plus_ms(2 * DAY), "the time before is not remembered");
    }

    proptest! {
        // However a clock is set, as long as it never shows a wrong time for longer than half an hour at once.
        #[test]
        fn never_early_by_more_than_two_days(
            jumps in proptest::collection::vec((-400_i64..400, 0_i64..30, 0_i64..300), 1..40),
        ) {
            let mut clocks = Clocks::new(START);
            for (days, wrong_min, right_min) in jumps {
                clocks.wall = clocks.wall.plus_ms(days * DAY);
                clocks.look();
                clocks.run(wrong_min * 60_000);
                let right = clocks.wall.plus_ms(-days * DAY);
                prop_assert!(clocks.look().believed <= right.plus_ms(AHEAD_MAX.ms() + HOUR));
                clocks.wall = right;
                prop_assert!(clocks.look().believed <= right);
                clocks.run(right_min * 60_000);
            }
        }
    }
}
