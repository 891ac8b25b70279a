//! What the end of a send says about its endpoint, as opposed to the delivery.

use roundtrip_domain::endpoint::Endpoint;

use crate::sender::{Exchange, Outcome};

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
    /// Nothing was sent, or what went wrong is ours.
    Unknown,
}

impl Reach {
    /// All of them, for tests.
    #[cfg(test)]
    pub(super) const ALL: [Self; 7] = [
        Self::Delivered,
        Self::Refused,
        Self::Gone,
        Self::Overloaded,
        Self::Failing,
        Self::Unreachable,
        Self::Unknown,
    ];

    /// What an exchange says. `is_delivered`: whether the answer counts as taken, which a rule can ask more of than
    /// a 2xx.
    pub(super) fn of(endpoint: Endpoint, exchange: &Exchange, is_delivered: bool) -> Self {
        match exchange.outcome {
            Outcome::Answered { .. } if is_delivered => Self::Delivered,
            Outcome::Answered { status: 410 } if matches!(endpoint, Endpoint::Webhook(_)) => Self::Gone,
            Outcome::Answered { status: 429 | 503 } => Self::Overloaded,
            Outcome::Answered { status: 500.. } => Self::Failing,
            Outcome::Answered { .. } => Self::Refused,
            Outcome::Failed(failure) if failure.is_trouble() => Self::Unreachable,
            Outcome::Failed(_) => Self::Unknown,
        }
    }

    /// Whether it says anything about the receiver.
    pub(super) const fn says_something(self) -> bool {
        !matches!(self, Self::Unknown)
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
