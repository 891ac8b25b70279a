//! What follows a send: delivered, again at a time, or dead, with a reason.
//!
//! A partner that answers 500 is no error of ours: it is an [`Outcome`], and policy reads it.

use crate::time::Timestamp;

/// Waits between the sends of a postback, in milliseconds: 10 sends over 23 h 43 m.
pub const POSTBACK_WAITS_MS: &[i64] =
    &[10_000, 30_000, 120_000, 600_000, 1_800_000, 7_200_000, 18_000_000, 25_200_000, 32_400_000];
/// The longest wait that a receiver can ask for with `Retry-After`.
pub const RETRY_AFTER_MAX_MS: i64 = 86_400_000;

/// When to send again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// The wait after the first, second, … send, in milliseconds. One more send than waits.
    pub waits_ms: Vec<i64>,
}

impl Default for Policy {
    fn default() -> Self {
        Self { waits_ms: POSTBACK_WAITS_MS.to_vec() }
    }
}

/// What a send came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// The receiver answered.
    Answered {
        /// HTTP status.
        status: u16,
        /// How long it asked us to wait, in milliseconds.
        retry_after_ms: Option<i64>,
    },
    /// Network trouble; a stable code such as `timeout`.
    Trouble(&'static str),
    /// We would not send it; a stable code such as `address_refused`.
    Refused(&'static str),
}

impl Outcome {
    /// The stable word: `http_503`, or the code.
    pub fn code(&self) -> String {
        match self {
            Self::Answered { status, .. } => format!("http_{status}"),
            Self::Trouble(code) | Self::Refused(code) => (*code).to_owned(),
        }
    }

    /// Whether it tells of an endpoint in trouble: network errors, 429 and 5xx.
    pub fn is_trouble(&self) -> bool {
        match self {
            Self::Answered { status, .. } => *status == 429 || *status >= 500,
            Self::Trouble(_) => true,
            Self::Refused(_) => false,
        }
    }
}

/// What follows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The receiver has it.
    Delivered,
    /// Send again.
    Again {
        /// Not before.
        due: Timestamp,
    },
    /// Given up; listed and replayable.
    Dead {
        /// Stable reason: `refused_by_receiver`, `attempts_exhausted`, `redirect`, or why we would not send.
        reason: &'static str,
    },
}

/// A share of the additive jitter, in thousandths: 0–250 is 0–25 %.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Jitter(u16);

impl Jitter {
    /// From random bits.
    pub const fn from_entropy(bits: u32) -> Self {
        Self((bits % 251) as u16)
    }
}

/// Decides what follows the send number `sends` (1 is the first) of a postback.
pub fn next(policy: &Policy, sends: u32, outcome: &Outcome, now: Timestamp, jitter: Jitter) -> Verdict {
    let asked_ms = match outcome {
        Outcome::Answered { status: 200..=299, .. } => return Verdict::Delivered,
        Outcome::Answered { status: 408 | 425 | 429 | 500..=599, retry_after_ms } => *retry_after_ms,
        Outcome::Answered { status: 300..=399, .. } => return Verdict::Dead { reason: "redirect" },
        Outcome::Answered { .. } => return Verdict::Dead { reason: "refused_by_receiver" },
        Outcome::Refused(code) => return Verdict::Dead { reason: code },
        Outcome::Trouble(_) => None,
    };
    let Some(wait) = sends.checked_sub(1).and_then(|i| policy.waits_ms.get(i as usize)) else {
        return Verdict::Dead { reason: "attempts_exhausted" };
    };
    let wait = wait + wait / 1000 * i64::from(jitter.0);
    let asked_ms = asked_ms.unwrap_or(0).clamp(0, RETRY_AFTER_MAX_MS);
    Verdict::Again { due: now.plus_ms(wait.max(asked_ms)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answered(status: u16) -> Outcome {
        Outcome::Answered { status, retry_after_ms: None }
    }

    #[track_caller]
    fn check(sends: u32, outcome: &Outcome, want: &Verdict) {
        let now = Timestamp::from_ms(1_000_000);
        assert_eq!(&next(&Policy::default(), sends, outcome, now, Jitter(0)), want);
    }

    #[test]
    fn follows_the_schedule() {
        let again = |ms| Verdict::Again { due: Timestamp::from_ms(1_000_000 + ms) };
        check(1, &answered(204), &Verdict::Delivered);
        check(1, &answered(500), &again(10_000));
        check(9, &Outcome::Trouble("timeout"), &again(32_400_000));
        check(10, &answered(503), &Verdict::Dead { reason: "attempts_exhausted" });
        check(1, &answered(404), &Verdict::Dead { reason: "refused_by_receiver" });
        check(1, &answered(302), &Verdict::Dead { reason: "redirect" });
        check(1, &Outcome::Refused("address_refused"), &Verdict::Dead { reason: "address_refused" });
        let slow = Outcome::Answered { status: 429, retry_after_ms: Some(60_000) };
        check(1, &slow, &again(60_000));
        let absurd = Outcome::Answered { status: 429, retry_after_ms: Some(i64::MAX) };
        check(1, &absurd, &again(RETRY_AFTER_MAX_MS));
        for status in [408, 425, 429, 599] {
            check(1, &answered(status), &again(10_000));
        }
    }

    #[test]
    fn the_schedule_is_ten_sends_over_23_h_43_m() {
        assert_eq!(POSTBACK_WAITS_MS.len() + 1, 10);
        assert_eq!(POSTBACK_WAITS_MS.iter().sum::<i64>() / 1000, 23 * 3600 + 42 * 60 + 40);
    }

    proptest::proptest! {
        #[test]
        fn jitter_only_adds_and_at_most_a_quarter(sends in 1_u32..10, bits: u32) {
            let now = Timestamp::from_ms(0);
            let Verdict::Again { due } = next(&Policy::default(), sends, &answered(500), now, Jitter::from_entropy(bits)) else {
                panic!("a 500 is tried again");
            };
            let wait = POSTBACK_WAITS_MS[sends as usize - 1];
            assert!(due.ms() >= wait && due.ms() <= wait + wait / 4);
        }
    }
}
