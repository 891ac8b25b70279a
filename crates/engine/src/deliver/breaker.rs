//! The breaker of an endpoint: when sends stop because the receiver is in trouble, and how one finds out that it
//! is well again.
//!
//! Pure: it is told what sends came to and what time it is, and says whether one may start. It knows no deliveries:
//! that the probe is the oldest that waits is seen to by the endpoint. Only real trouble is told to it; what is
//! ours is [`Reach::Unknown`]. What the operator's settings do not allow opens it at once, because every other send would
//! come to the same; it says nothing about the receiver.

use std::time::Duration;

use roundtrip_domain::endpoint::NotAllowed;

use super::reach::Reach;

/// Failures to connect or to answer in time, one after the other, that open it.
const STRAIGHT_MAX: u32 = 5;
/// Sends within [`WINDOW`] from which a share of failures says something.
const SENDS_MIN: u32 = 10;
/// The share of failures that opens it, in percent.
const FAILED_PERCENT: u32 = 70;
/// How far back failures count.
const WINDOW: Duration = Duration::from_secs(60);
/// The window's resolution: counts are kept in slots of this length.
const SLOT: Duration = Duration::from_secs(10);
const SLOTS: usize = 6;
/// Waits before the first, second, … probe; the last one repeats.
const PROBE_WAITS: [Duration; 5] = [
    Duration::from_secs(30),
    Duration::from_secs(60),
    Duration::from_secs(120),
    Duration::from_secs(300),
    Duration::from_secs(900),
];

/// What a send's end did to the breaker.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// It opened: sends stop.
    Opened,
    /// It opened, or stays open, because the operator's settings do not allow the endpoint's requests.
    NotAllowed(NotAllowed),
    /// It closed: sends go on, by ramp.
    Closed,
}

/// Whether a send may start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Pass {
    /// As many as there are.
    Free,
    /// One, to find out.
    Probe,
    /// None before then; `None`: not before the probe under way has ended.
    Wait(Option<Duration>),
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open {
        /// How many probes failed.
        failed: usize,
        /// When the next probe may start.
        probe_at: Duration,
        is_probing: bool,
        /// What the operator's settings do not allow, if that is what it is open for.
        not_allowed: Option<NotAllowed>,
    },
}

#[derive(Debug, Clone, Copy, Default)]
struct Slot {
    /// The number of the slot since the clock's beginning; another number is another time.
    at: u64,
    sends: u32,
    failed: u32,
}

/// The breaker.
#[derive(Debug, Clone, Copy)]
pub(super) struct Breaker {
    state: State,
    /// Failures to reach it since anything else happened.
    straight: u32,
    slots: [Slot; SLOTS],
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed, straight: 0, slots: [Slot::default(); SLOTS] }
    }
}

/// The wait before the next probe, after this many have failed, with additive jitter of at most a quarter.
fn probe_wait(failed: usize, jitter: u32) -> Duration {
    let wait = PROBE_WAITS[failed.min(PROBE_WAITS.len() - 1)];
    wait + wait * (jitter % 251) / 1_000
}

impl Breaker {
    /// Whether a send may start.
    pub(super) fn pass(&self, now: Duration) -> Pass {
        match self.state {
            State::Closed => Pass::Free,
            State::Open { is_probing: true, .. } => Pass::Wait(None),
            State::Open { probe_at, .. } if probe_at <= now => Pass::Probe,
            State::Open { probe_at, .. } => Pass::Wait(Some(probe_at)),
        }
    }

    /// A probe starts: until its end nothing else does.
    pub(super) fn probe(&mut self) {
        if let State::Open { is_probing, .. } = &mut self.state {
            *is_probing = true;
        }
    }

    /// A send ended. `jitter` is any random number.
    pub(super) fn ended(
        &mut self,
        reach: Reach,
        is_probe: bool,
        now: Duration,
        jitter: u32,
    ) -> Option<Change> {
        if let Reach::NotAllowed(what) = reach {
            return self.refused(what, is_probe, now, jitter);
        }
        match &mut self.state {
            State::Closed if !reach.says_something() => None,
            State::Closed => {
                self.count(reach, now);
                if !self.is_too_much(now) {
                    return None;
                }
                self.open(None, now, jitter);
                Some(Change::Opened)
            }
            // What began before it opened may still end well, and that is as good as a probe.
            State::Open { .. } if reach.says_something() && !reach.is_trouble() => {
                *self = Self::default();
                Some(Change::Closed)
            }
            State::Open { failed, probe_at, is_probing, not_allowed } if is_probe => {
                *is_probing = false;
                if !reach.is_trouble() {
                    return None;
                }
                *failed += 1;
                *probe_at = now + probe_wait(*failed, jitter);
                // It is allowed by now, and the receiver is in trouble.
                not_allowed.take().map(|_| Change::Opened)
            }
            State::Open { .. } => None,
        }
    }

    fn open(&mut self, not_allowed: Option<NotAllowed>, now: Duration, jitter: u32) {
        let probe_at = now + probe_wait(0, jitter);
        self.state = State::Open { failed: 0, probe_at, is_probing: false, not_allowed };
    }

    /// A send was not allowed by the operator's settings.
    fn refused(&mut self, what: NotAllowed, is_probe: bool, now: Duration, jitter: u32) -> Option<Change> {
        match &mut self.state {
            State::Closed => {
                self.open(Some(what), now, jitter);
                Some(Change::NotAllowed(what))
            }
            State::Open { failed, probe_at, is_probing, not_allowed } if is_probe => {
                *is_probing = false;
                *failed += 1;
                *probe_at = now + probe_wait(*failed, jitter);
                (not_allowed.replace(what) != Some(what)).then_some(Change::NotAllowed(what))
            }
            State::Open { .. } => None,
        }
    }

    /// What the operator's settings do not allow, if that is what it is open for.
    pub(super) const fn not_allowed(&self) -> Option<NotAllowed> {
        match self.state {
            State::Closed => None,
            State::Open { not_allowed, .. } => not_allowed,
        }
    }

    /// When the next probe may start, while it is open.
    pub(super) const fn open_until(&self) -> Option<Duration> {
        match self.state {
            State::Closed => None,
            State::Open { probe_at, .. } => Some(probe_at),
        }
    }

    /// Whether it forgets nothing that matters when it is dropped.
    pub(super) const fn is_quiet(&self) -> bool {
        matches!(self.state, State::Closed) && self.straight == 0
    }

    fn count(&mut self, reach: Reach, now: Duration) {
        self.straight = if reach.is_unreachable() { self.straight + 1 } else { 0 };
        let at = now.as_secs() / SLOT.as_secs();
        let slot = &mut self.slots[(at % SLOTS as u64) as usize];
        if slot.at != at {
            *slot = Slot { at, ..Slot::default() };
        }
        slot.sends += 1;
        slot.failed += u32::from(reach.is_trouble());
    }

    fn is_too_much(&self, now: Duration) -> bool {
        let newest = now.as_secs() / SLOT.as_secs();
        let oldest = newest.saturating_sub(WINDOW.as_secs() / SLOT.as_secs() - 1);
        let recent = self.slots.iter().filter(|slot| slot.at >= oldest && slot.at <= newest);
        let (sends, failed) =
            recent.fold((0, 0), |(sends, failed), slot| (sends + slot.sends, failed + slot.failed));
        self.straight >= STRAIGHT_MAX || (sends >= SENDS_MIN && failed * 100 >= sends * FAILED_PERCENT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn after(ends: &[(u64, Reach)]) -> Breaker {
        let mut breaker = Breaker::default();
        for (at, reach) in ends {
            breaker.ended(*reach, false, s(*at), 0);
        }
        breaker
    }

    #[test]
    fn opens_at_five_failures_to_reach_it_in_a_row() {
        let four = [(0, Reach::Unreachable); 4];
        assert_eq!(after(&four).pass(s(0)), Pass::Free);
        let mut broken = after(&four);
        assert_eq!(broken.ended(Reach::Unreachable, false, s(1), 0), Some(Change::Opened));
        assert_eq!(broken.pass(s(1)), Pass::Wait(Some(s(31))));
        for between in [Reach::Delivered, Reach::Refused, Reach::Failing] {
            let mut ends = four.to_vec();
            ends.push((0, between));
            ends.push((0, Reach::Unreachable));
            assert_eq!(after(&ends).pass(s(0)), Pass::Free, "{between:?} breaks the row");
        }
        let mut ends = four.to_vec();
        ends.extend([(0, Reach::Unknown), (0, Reach::Unreachable)]);
        assert_ne!(after(&ends).pass(s(0)), Pass::Free, "what is ours neither counts nor breaks the row");
    }

    #[test]
    fn opens_when_most_of_a_minute_fails_and_not_before_ten_sends() {
        let mut ends: Vec<_> = (0..3).map(|n| (n * 5, Reach::Delivered)).collect();
        ends.extend((3..9).map(|n| (n * 5, Reach::Failing)));
        assert_eq!(after(&ends).pass(s(45)), Pass::Free, "nine sends say too little");
        let mut more = ends.clone();
        more.push((45, Reach::Overloaded));
        assert_ne!(after(&more).pass(s(45)), Pass::Free, "seven of ten");
        ends.extend([(45, Reach::Delivered), (45, Reach::Failing)]);
        assert_eq!(after(&ends).pass(s(45)), Pass::Free, "seven of eleven are fewer than 70 %");
        let spread: Vec<_> = (0..20).map(|n| (n * 10, Reach::Failing)).collect();
        assert_eq!(after(&spread).pass(s(200)), Pass::Free, "six a minute are never ten in a minute");
    }

    #[test]
    fn refusals_and_our_own_faults_never_open_it() {
        for reach in [Reach::Refused, Reach::Gone, Reach::Unknown, Reach::Delivered] {
            assert_eq!(after(&[(0, reach); 100]).pass(s(0)), Pass::Free, "{reach:?}");
        }
    }

    #[test]
    fn probes_later_and_later_and_closes_on_one_success() {
        let mut breaker = after(&[(0, Reach::Unreachable); 5]);
        let mut now = s(0);
        for wait in [30, 60, 120, 300, 900, 900] {
            now += s(wait - 1);
            assert_eq!(breaker.pass(now), Pass::Wait(Some(now + s(1))));
            now += s(1);
            assert_eq!(breaker.pass(now), Pass::Probe);
            breaker.probe();
            assert_eq!(breaker.pass(now), Pass::Wait(None), "one at a time");
            assert_eq!(breaker.ended(Reach::Unreachable, false, now, 0), None, "not the probe");
            assert_eq!(breaker.pass(now), Pass::Wait(None));
            assert_eq!(breaker.ended(Reach::Failing, true, now, 0), None);
        }
        now += s(900);
        breaker.probe();
        assert_eq!(breaker.ended(Reach::Unknown, true, now, 0), None);
        assert_eq!(breaker.pass(now), Pass::Probe, "a probe that said nothing is made up for at once");
        breaker.probe();
        assert_eq!(breaker.ended(Reach::Delivered, true, now, 0), Some(Change::Closed));
        assert_eq!(breaker.pass(now), Pass::Free);
        assert!(breaker.is_quiet());
    }

    #[test]
    fn what_is_not_allowed_opens_it_at_once_and_is_news_once() {
        let plain = Reach::NotAllowed(NotAllowed::PlainHttp);
        let mut breaker = Breaker::default();
        assert_eq!(breaker.ended(plain, false, s(0), 0), Some(Change::NotAllowed(NotAllowed::PlainHttp)));
        assert_eq!(breaker.not_allowed(), Some(NotAllowed::PlainHttp));
        assert_eq!(breaker.ended(plain, false, s(0), 0), None, "what began before it opened is no news");
        for (at, wait) in [(30, 60), (90, 120)] {
            assert_eq!(breaker.pass(s(at)), Pass::Probe);
            breaker.probe();
            assert_eq!(breaker.ended(plain, true, s(at), 0), None, "said once");
            assert_eq!(breaker.pass(s(at)), Pass::Wait(Some(s(at + wait))));
        }
        let address = Reach::NotAllowed(NotAllowed::Address);
        breaker.probe();
        let change = breaker.ended(address, true, s(210), 0);
        assert_eq!(change, Some(Change::NotAllowed(NotAllowed::Address)), "something else is news");
        breaker.probe();
        assert_eq!(breaker.ended(Reach::Unreachable, true, s(600), 0), Some(Change::Opened));
        assert_eq!(breaker.not_allowed(), None, "it is the receiver by now");
        breaker.probe();
        assert_eq!(breaker.ended(Reach::Delivered, true, s(2_000), 0), Some(Change::Closed));
        let four = [(0, Reach::Unreachable); 4];
        let mut near = after(&four);
        near.ended(plain, false, s(0), 0);
        assert_eq!(
            near.not_allowed(),
            Some(NotAllowed::PlainHttp),
            "also beside trouble that opens nothing yet"
        );
    }

    #[test]
    fn a_straggler_that_ends_well_closes_it_too() {
        let mut breaker = after(&[(0, Reach::Unreachable); 5]);
        assert_eq!(breaker.ended(Reach::Refused, false, s(1), 0), Some(Change::Closed));
    }

    proptest::proptest! {
        #[test]
        fn jitter_only_adds_and_at_most_a_quarter(failed in 0_usize..10, jitter: u32) {
            let (least, wait) = (probe_wait(failed, 0), probe_wait(failed, jitter));
            assert!(wait >= least && wait <= least + least / 4);
        }

        /// However sends end, one success closes it, and while it is open at most one probe is under way.
        #[test]
        fn never_stuck(ends in proptest::collection::vec((0_u64..100, 0_usize..8, proptest::bool::ANY), 0..200)) {
            let mut breaker = Breaker::default();
            let mut now = s(0);
            let mut is_probing = false;
            for (wait, reach, probe) in ends {
                now += s(wait);
                let was_open = breaker.open_until().is_some();
                match breaker.pass(now) {
                    Pass::Probe if probe => { assert!(!is_probing); breaker.probe(); is_probing = true; }
                    Pass::Wait(None) => assert!(is_probing),
                    _ => {}
                }
                let is_probe = is_probing && probe;
                let change = breaker.ended(Reach::ALL[reach], is_probe, now, 7);
                if is_probe || change == Some(Change::Closed) { is_probing = false; }
                if was_open && Reach::ALL[reach].says_something() && !Reach::ALL[reach].is_trouble() {
                    assert_eq!(change, Some(Change::Closed));
                }
                if let Some(until) = breaker.open_until() {
                    assert!(until <= now + s(900) + s(225), "a probe comes");
                }
            }
        }
    }
}
