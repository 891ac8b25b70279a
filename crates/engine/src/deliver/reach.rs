//! What the end of a send says about its endpoint, as opposed to the delivery.

use roundtrip_domain::endpoint::NotAllowed;
use roundtrip_domain::retry::{Outcome, Verdict};

use crate::sender::Failure;

/// What a send's end says about the receiver.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// It took the delivery.
    Delivered,
    /// It answered, and would not take this one: no sign of trouble.
    Refused,
    /// A webhook's receiver said that it is gone for good (410).
    Gone,
    /// It asks for less: 429 or 503.
    Overloaded,
    /// It answered that it is ill: another 5xx.
    Failing,
    /// No connection, no answer in time, or nothing that is one.
    Unreachable,
    /// Nothing was sent, because the operator's settings do not allow it: no fault of the receiver's.
    NotAllowed(NotAllowed),
    /// Nothing was sent, or what went wrong is ours.
    Unknown,
}

impl Reach {
    /// All of them, for tests.
    #[cfg(test)]
    pub(super) const ALL: [Self; 8] = [
        Self::Delivered,
        Self::Refused,
        Self::Gone,
        Self::Overloaded,
        Self::Failing,
        Self::Unreachable,
        Self::NotAllowed(NotAllowed::Address),
        Self::Unknown,
    ];

    /// What an outcome says, and what was made of it: a rule can ask more of a success than a 2xx.
    pub(super) fn of(verdict: &Verdict, outcome: &Outcome) -> Self {
        match (verdict, outcome) {
            (Verdict::Delivered, _) => Self::Delivered,
            (Verdict::Disable, _) => Self::Gone,
            (Verdict::Hold { what, .. }, _) => Self::NotAllowed(*what),
            (_, Outcome::Answered { status: 429 | 503, .. }) => Self::Overloaded,
            (_, Outcome::Answered { status: 500.., .. }) => Self::Failing,
            // A 2xx whose body broke off.
            (_, Outcome::Answered { .. }) if outcome.is_trouble() => Self::Failing,
            (_, Outcome::Answered { .. }) => Self::Refused,
            (_, Outcome::Trouble(code)) if is_ours(code) => Self::Unknown,
            (_, Outcome::Trouble(_)) => Self::Unreachable,
            (_, Outcome::Refused(_) | Outcome::NotAllowed(_)) => Self::Unknown,
        }
    }

    /// Whether it says anything about the receiver.
    pub(super) const fn says_something(self) -> bool {
        !matches!(self, Self::Unknown | Self::NotAllowed(_))
    }

    /// Whether the receiver is in trouble.
    pub(super) const fn is_trouble(self) -> bool {
        matches!(self, Self::Overloaded | Self::Failing | Self::Unreachable)
    }

    /// Whether it could not be reached at all.
    pub(super) const fn is_unreachable(self) -> bool {
        matches!(self, Self::Unreachable)
    }

    /// Whether fewer sends at a time would help it.
    pub(super) const fn asks_for_less(self) -> bool {
        matches!(self, Self::Overloaded | Self::Unreachable)
    }
}

/// Whether a failure is a shortage or fault of ours: a full pool, an ill proxy.
fn is_ours(code: &str) -> bool {
    Failure::ALL.iter().any(|failure| failure.is_ours() && failure.code() == code)
}

#[cfg(test)]
mod tests {
    use roundtrip_domain::success::Said;

    use super::*;

    #[test]
    fn only_what_the_receiver_does_is_charged_to_it() {
        let dead = Verdict::Dead { reason: "refused_by_receiver" };
        let answered =
            |status| Outcome::Answered { status, retry_after_ms: None, said: Said::Accepted, abort: false };
        for (outcome, want) in [
            (answered(200), Reach::Refused),
            (answered(302), Reach::Refused),
            (answered(404), Reach::Refused),
            (answered(429), Reach::Overloaded),
            (answered(500), Reach::Failing),
            (answered(503), Reach::Overloaded),
            (answered(599), Reach::Failing),
            (Outcome::Refused("refused_address"), Reach::Unknown),
        ] {
            assert_eq!(Reach::of(&dead, &outcome), want, "{outcome:?}");
        }
        for failure in Failure::ALL {
            let reach = Reach::of(&dead, &Outcome::Trouble(failure.code()));
            assert_eq!(reach == Reach::Unknown, failure.is_ours(), "{failure:?}");
        }
        assert_eq!(Reach::of(&Verdict::Delivered, &answered(200)), Reach::Delivered);
        assert_eq!(Reach::of(&Verdict::Disable, &answered(410)), Reach::Gone);
        for what in NotAllowed::ALL {
            let held = Verdict::Hold { due: roundtrip_domain::time::Timestamp::from_ms(0), what };
            let reach = Reach::of(&held, &Outcome::NotAllowed(what));
            assert_eq!(reach, Reach::NotAllowed(what));
            assert!(!reach.says_something() && !reach.is_trouble());
            assert_eq!(
                Reach::of(&dead, &Outcome::NotAllowed(what)),
                Reach::Unknown,
                "it ended: the next one tells"
            );
        }
    }
}
